"""What GPUs can do by what their maker publishes: nothing here was measured.

FLOP/s are those of float32 outside the tensor cores, which is what this package computes in unless told otherwise.  The
link is PCI Express with 16 lanes, in one direction: data sheets print both directions together.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

__all__ = ["GPUS", "Gpu", "named"]


class Gpu(NamedTuple):
    """A GPU's published peaks.

    Attributes
    ----------
    title : str
    flops : float
        Of float32, a second.
    bandwidth : float
        Bytes a second, to and from its own memory.
    link : float
        Bytes a second, from the host or to it.
    source : str
        The document.
    """

    title: str
    flops: float
    bandwidth: float
    link: float
    source: str


_GEN3, _GEN4, _GEN5 = 16e9, 32e9, 64e9  # bytes a second of 16 lanes of PCI Express

GPUS: dict[str, Gpu] = {
    "h100": Gpu("NVIDIA H100 SXM", 67e12, 3350e9, _GEN5, "NVIDIA H100 Tensor Core GPU data sheet"),
    "h200": Gpu("NVIDIA H200 SXM", 67e12, 4800e9, _GEN5, "NVIDIA H200 Tensor Core GPU data sheet"),
    "a100": Gpu("NVIDIA A100 80GB SXM", 19.5e12, 2039e9, _GEN4, "NVIDIA A100 Tensor Core GPU data sheet"),
    "v100": Gpu("NVIDIA V100 SXM2", 15.7e12, 900e9, _GEN3, "NVIDIA V100 Tensor Core GPU data sheet"),
    "l4": Gpu("NVIDIA L4", 30.3e12, 300e9, _GEN4, "NVIDIA L4 Tensor Core GPU data sheet"),
    "t4": Gpu("NVIDIA T4", 8.1e12, 320e9, _GEN3, "NVIDIA Turing GPU architecture white paper"),
    "rtx4090": Gpu("GeForce RTX 4090", 82.6e12, 1008e9, _GEN4, "NVIDIA Ada GPU architecture white paper"),
    "rtx3090": Gpu("GeForce RTX 3090", 35.6e12, 936e9, _GEN4, "NVIDIA Ampere GA102 architecture white paper"),
}
"""Those known, by the names that ``--assume`` takes."""


def named(name: str) -> Gpu:
    """Return the GPU of this name, in capitals or not.

    Raises
    ------
    ValueError
        If it is not known.

    Examples
    --------
    >>> named("H100").title
    'NVIDIA H100 SXM'
    >>> named("h10")
    Traceback (most recent call last):
    ValueError: bench cpu-gpu: there is no GPU 'h10' to assume, did you mean 'h100'? Known are h100, h200, a100, ...
    """
    if name.lower() not in GPUS:
        near = difflib.get_close_matches(name.lower(), GPUS, n=1)
        hint = f", did you mean {near[0]!r}? Known are" if near else "; known are"
        raise ValueError(f"bench cpu-gpu: there is no GPU {name!r} to assume{hint} {', '.join(GPUS)}")
    return GPUS[name.lower()]
