"""Measure: minicnn against other frameworks, and where its own time goes.

Without a command of its own this is "bench peers", with all models and all frameworks that are installed: some
15 minutes.

For example:
  minicnn bench peers vgg16
  minicnn bench conv --model vgg16
  minicnn bench cpu-gpu lenet5 --assume h100
  minicnn bench profile resnet18
"""

from __future__ import annotations

import argparse

from . import conv, cpu_gpu, peers, profile

_COMMANDS = {"peers": peers, "conv": conv, "cpu-gpu": cpu_gpu, "profile": profile}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands of this command."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, module in _COMMANDS.items():
        first, *rest = (module.__doc__ or name).split("\n\n")  # python -OO leaves no docstrings
        command = commands.add_parser(
            name, help=first.rstrip("."), description=first, epilog="\n\n".join(rest)
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)


def run(arguments: argparse.Namespace) -> int | None:
    """Measure the peers: no command was named."""
    parser = argparse.ArgumentParser()
    peers.add_arguments(parser)
    return peers.run(parser.parse_args([]))
