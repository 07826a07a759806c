"""The ``minicnn`` command: a file for each of its commands, and here what they have in common.

A mistake of the user's ends in one line on standard error and exit status 2; Ctrl-C in one line and 130.
"""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Sequence

from . import bench, config, convert, evaluate, gradcheck, ledger, predict, summary, train
from .arguments import Parser

__all__ = ["main"]

_COMMANDS = {
    "train": train,
    "eval": evaluate,
    "predict": predict,
    "summary": summary,
    "ledger": ledger,
    "gradcheck": gradcheck,
    "bench": bench,
    "convert": convert,
    "config": config,
}
_MISTAKE, _INTERRUPTED, _PIPE_CLOSED = 2, 130, 141  # the last two are 128 + the signal's number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name.  Default: those of the process.

    Examples
    --------
    >>> main(["summary", "lenet5", "--variant", "d2l"])
    LeNet5D2L on 1×28×28
    layer    kind       output  parameters  connections     MACs   sees  every
    c1       Conv2d    6×28×28         156      122,304  117,600    5×5    1×1
    ...
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no × or ─ gets a ?
    try:
        status = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as interrupt:
        return _complain(str(interrupt) or "interrupted", _INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone.  What is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _complain(f"{error.strerror or error}{where}", _MISTAKE)
    except (ValueError, FloatingPointError, ImportError) as error:
        return _complain(str(error), _MISTAKE)
    except MemoryError as error:
        return _complain(f"there is not enough memory; {error}".rstrip("; "), _MISTAKE)


def _run(argv: list[str]) -> int:
    if argv and not argv[0].startswith("-") and argv[0] not in _COMMANDS:
        near = difflib.get_close_matches(argv[0], _COMMANDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_COMMANDS)}"
        raise ValueError(f"there is no command {argv[0]!r}; {hint}")
    arguments = _parser().parse_args(argv)
    return arguments.run(arguments) or 0


def _parser() -> Parser:
    from .. import __version__

    parser = Parser(
        prog="minicnn",
        description="Classic convolutional networks from pieces a person can read.",
        epilog="For example: minicnn train lenet5 && minicnn predict my_digit.png",
    )
    parser.add_argument("--version", action="version", version=f"minicnn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        first, *rest = (module.__doc__ or name).split("\n\n")  # python -OO leaves no docstrings
        command = commands.add_parser(
            name, help=first.rstrip("."), description=first, epilog="\n\n".join(rest)
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def _complain(message: str, status: int) -> int:
    line = " ".join(message.split())
    # A file may have chosen the names in it: none of them gets to command the terminal.
    print("minicnn: " + "".join(c if c.isprintable() else "�" for c in line), file=sys.stderr)
    return status
