"""What every instance of every kernel takes of the device: registers, shared memory, spills, against its budget.

    python benchmarks/kernel_resources.py [NAME ...] [--arch 70 80 90]

No GPU is needed: NVRTC compiles for each architecture and its assembler tells.
"""

from __future__ import annotations

import argparse

from minicnn.backend.cuda_source import Source, source, sources
from minicnn.backend.nvrtc import compile_file

ARCHITECTURES = (70, 80, 90)


def rows(file: Source, architecture: int) -> list[tuple[str, int, int, int, int, str]]:
    """Return for each instance: expression, architecture, registers, shared, spilled, what breaks the budget."""
    kernels = [kernel for kernel in file.kernels.values() if kernel.needs <= architecture]
    if not kernels:
        return []
    expressions = [expression for kernel in kernels for expression in kernel.expressions]
    found = compile_file(file.path, expressions, architecture).resources
    return [
        (expression, architecture, used.registers, used.shared, used.spilled, verdict(kernel, used))
        for kernel in kernels
        for expression, used in ((expression, found[expression]) for expression in kernel.expressions)
    ]


def verdict(kernel, used) -> str:
    """Say which promises of its header an instance breaks."""
    broken = [
        f"{name} {value} > {most}"
        for name, value, most in (
            ("registers", used.registers, kernel.registers),
            ("shared", used.shared, kernel.shared),
            ("stack", used.stack, 0),
            ("spilled", used.spilled, 0),
        )
        if value > most
    ]
    return ", ".join(broken)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="files by their stem; all if none is named")
    parser.add_argument("--arch", nargs="+", type=int, default=ARCHITECTURES)
    arguments = parser.parse_args()
    broken = 0
    for file in [source(name) for name in arguments.names] or sources().values():
        for architecture in arguments.arch:
            for expression, arch, registers, shared, spilled, verdict_ in rows(file, architecture):
                print(
                    f"{expression:58} sm_{arch} {registers:4} registers {shared:6} B shared {spilled:5} B spilled"
                    f"  {verdict_ or 'ok'}",
                    flush=True,
                )
                broken += bool(verdict_)
    return min(broken, 1)


if __name__ == "__main__":
    raise SystemExit(main())
