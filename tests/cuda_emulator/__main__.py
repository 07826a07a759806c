"""python -m cuda_emulator FILE.cu …: one kernel, run under all checks, in all orders."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import linecache
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .build import default_cache
from .emulator import COPIES, ORDERS, Emulator, Kernel
from .errors import EmulatorError
from .traffic import Traffic

CHECKS = ("address", "threads", "traffic")

EPILOG = """\
arguments of the kernel, in its order:
  float32[1000]:random     an array of a NumPy dtype and a shape, filled with random, zeros, ones, range or nan
  float32[8,16]:@x.npy     the same, read from a file
  int:1000  float:2.5      a number of a type of C (int, unsigned, long, float, double, bool) or of NumPy (uint8)
  null                     a null pointer

Each run begins with the same arrays.  What the threads' order changes in the results beyond rounding is an error as
well.  The exit code is 0 if nothing was found, 1 if something was, 2 if the kernel could not be run at all.

example:
  python -m cuda_emulator saxpy.cu --kernel 'saxpy<float>' --grid 4 --block 256 \\
      float32[1000]:random float32[1000]:zeros float:2.5 int:1000
"""

_TYPES = {
    "int": "int32",
    "unsigned": "uint32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "half": "float16",
}

_FILLS = {
    "random": lambda shape: np.random.default_rng(0).standard_normal(shape),
    "zeros": np.zeros,
    "ones": np.ones,
    "range": lambda shape: np.arange(np.prod(shape)).reshape(shape),
    "nan": lambda shape: np.full(shape, np.nan),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        What follows ``python -m cuda_emulator``.

    Returns
    -------
    int
        The exit code.
    """
    options = _parser().parse_intermixed_args(argv)
    try:
        arguments = [argument(text) for text in options.arguments]
    except (ValueError, TypeError, OverflowError, OSError) as error:
        print(f"cuda_emulator: {error}", file=sys.stderr)
        return 2
    try:
        found = _run_all(options, arguments)
    except (EmulatorError, OSError, UnicodeDecodeError) as error:  # no launch got so far
        print(f"cuda_emulator: {error}", file=sys.stderr)
        return 2
    if found:
        _print_error(min(found, key=lambda error: not error.places))  # the first that knows where
    return 1 if found else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cuda_emulator",
        description="Run a CUDA kernel on the CPU, under sanitizers, with its threads in several orders.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", help="the .cu file, as it is")
    parser.add_argument("arguments", nargs="*", metavar="argument", help="the kernel's arguments, see below")
    parser.add_argument("--kernel", required=True, help="the kernel, as C++ names it: 'saxpy<float>'")
    parser.add_argument("--grid", type=_sizes, default="1", help="blocks: x, or x,y,z (default: 1)")
    parser.add_argument(
        "--block", type=_sizes, default="32", help="threads of a block: x, or x,y,z (default: 32)"
    )
    parser.add_argument(
        "--shared", type=int, default=0, metavar="BYTES", help="dynamic shared memory (default: 0)"
    )
    parser.add_argument(
        "--include", action="append", default=[], metavar="FOLDER", help="where included files are"
    )
    parser.add_argument("--check", default="all", help=f"all (the default), or some of {','.join(CHECKS)}")
    parser.add_argument("--order", default="all", help=f"all (the default), or some of {','.join(ORDERS)}")
    parser.add_argument(
        "--copies", default="all", help=f"when cp.async copies: all, or some of {','.join(COPIES)}"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random order (default: 0)")
    parser.add_argument("--cache", help=f"the folder for compiled kernels (default: {default_cache()})")
    return parser


def _sizes(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+){0,2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not one to three numbers x,y,z")
    return tuple(int(size) for size in text.split(","))


def argument(text: str) -> Any:
    """A kernel's argument from its description on the command line.

    Parameters
    ----------
    text : str
        ``'float32[2,3]:zeros'``, ``'float32[6]:@x.npy'``, ``'int:7'`` or ``'null'``.

    Examples
    --------
    >>> argument("int16[2,2]:range")
    array([[0, 1],
           [2, 3]], dtype=int16)
    >>> argument("float:2.5")
    np.float32(2.5)
    """
    if text == "null":
        return None
    if (found := re.fullmatch(r"(\w+)\[([\d, ]+)\](?::(.+))?", text)) is not None:
        dtype, sizes, fill = found.groups(default="random")
        return _array(text, _dtype(dtype), tuple(int(size) for size in sizes.split(",")), fill)
    if (found := re.fullmatch(r"(\w+):(.+)", text)) is not None:
        dtype = _dtype(found.group(1))
        value = float(found.group(2)) if dtype.kind == "f" else int(found.group(2), 0)
        return dtype.type(value)
    raise ValueError(f"{text!r} is no argument: write float32[100]:random, int:5 or null")


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(_TYPES.get(name, name))


def _array(text: str, dtype: np.dtype[Any], shape: tuple[int, ...], fill: str) -> np.ndarray:
    if fill.startswith("@"):
        array = np.load(fill[1:])
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{text!r}: the file holds {array.dtype}{list(array.shape)}")
        return np.ascontiguousarray(array)
    if fill not in _FILLS:
        raise ValueError(f"{text!r}: an array is filled with one of {', '.join(_FILLS)}, or @ and a file")
    return np.ascontiguousarray(_FILLS[fill](shape), dtype=dtype)


def _choice(option: str, text: str, choices: Sequence[str]) -> list[str]:
    chosen = list(choices) if text == "all" else text.split(",")
    if unknown := [name for name in chosen if name not in choices]:
        raise EmulatorError(f"{option} {unknown[0]}: choose among {', '.join(choices)}", "arguments")
    return chosen


def _run_all(options: argparse.Namespace, arguments: list[Any]) -> list[EmulatorError]:
    """Run the kernel in all modes, printing a line for each; the errors found."""
    modes = _modes(options)
    emulators = {
        check: Emulator(
            options.file, [options.kernel], include=options.include, check=check, cache=options.cache
        )
        for check in dict.fromkeys(mode[0] for mode in modes)
    }
    found: list[EmulatorError] = []
    first: list[Any] | None = None
    print(f"{'check':<9}{'order':<9}{'copies':<8}result")
    for check, order, copies in modes:
        kernel = emulators[check].kernel(options.kernel, order=order, copies=copies, seed=options.seed)
        mine = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        error = _run(kernel, options, mine, first or mine)
        if error is None:
            first = first or mine
        else:
            found.append(error)
        print(f"{check:<9}{order:<9}{copies:<8}{error or 'ok'}")
        if kernel.traffic is not None:
            _print_traffic(kernel.traffic)
    return found


def _modes(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """The checks, orders and copies to run; what is moved depends on neither order nor copies."""
    checks = _choice("--check", options.check, CHECKS)
    orders = _choice("--order", options.order, ORDERS)
    copies = _choice("--copies", options.copies, COPIES)
    modes = itertools.product([check for check in checks if check != "traffic"], orders, copies)
    return [*modes, *([("traffic", orders[0], copies[0])] if "traffic" in checks else [])]


def _run(
    kernel: Kernel, options: argparse.Namespace, arguments: list[Any], expected: list[Any]
) -> EmulatorError | None:
    """Launch the kernel once; what was wrong with it, if anything."""
    try:
        kernel(options.grid, options.block, arguments, shared_mem=options.shared)
    except EmulatorError as error:
        if error.kind == "arguments":  # no other run would get further
            raise
        return error
    different = _difference(expected, arguments)
    return EmulatorError(f"{options.kernel}: {different}", "result") if different else None


def _difference(first: list[Any], now: list[Any]) -> str | None:
    """What differs from the results of the first run by more than rounding."""
    for number, (a, b) in enumerate(zip(first, now, strict=True), 1):
        if not isinstance(a, np.ndarray):
            continue
        tolerance = 1e-3 if a.itemsize < 4 else 1e-5
        if not np.allclose(a.astype(np.float64), b.astype(np.float64), rtol=tolerance, equal_nan=True):
            return f"argument {number} differs from that of the first run"
    return None


def _print_error(error: EmulatorError) -> None:
    print(f"\n{error}")
    for file, line in error.places:
        print(f"    {file}:{line}: {linecache.getline(file, line).strip()}")
    if error.report:
        told, _, _ = error.report.partition("\nShadow bytes around")  # AddressSanitizer's own notes
        print(f"\n{told.strip()}")


def _print_traffic(traffic: Traffic) -> None:
    for name, count in dataclasses.asdict(traffic).items():
        print(f"    {name.replace('_', ' '):<17}{count:>12,}")


if __name__ == "__main__":
    sys.exit(main())
