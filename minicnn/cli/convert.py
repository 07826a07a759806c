"""Convert a file of weights to safetensors, or to NumPy's .npz.

IN may be safetensors, .npz, .npy, or a state dict saved by PyTorch (.pt, .pth), which need not be installed; its first
bytes tell which.  What a safetensors file says besides its weights is kept; an .npz file has no place for it.

For example:
  minicnn convert resnet50-0676ba61.pth resnet50.safetensors
  minicnn convert weights.safetensors weights.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("input", metavar="IN", help="the file to read")
    parser.add_argument(
        "output",
        metavar="OUT",
        help="the file to write: .safetensors or .npz; may be IN, it is replaced whole",
    )


def run(arguments: argparse.Namespace) -> None:
    """Convert, and print a line of what was written."""
    from ..weights import load, read_header, save_npz, write

    path = Path(arguments.output)
    if path.suffix not in (".safetensors", ".npz"):
        raise ValueError(f"convert: OUT must end in .safetensors or .npz, got {arguments.output!r}")
    arrays = load(arguments.input)
    if path.suffix == ".npz":
        save_npz(path, arrays)
    else:
        write(path, arrays, read_header(arguments.input))
    tensors = "1 tensor" if len(arrays) == 1 else f"{len(arrays)} tensors"
    count = sum(array.size for array in arrays.values())
    print(f"{path}: {tensors}, {count:,} numbers, {path.stat().st_size:,} bytes")
