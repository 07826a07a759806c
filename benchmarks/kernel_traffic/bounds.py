"""How near to its peak a kernel can come at best: a prediction from what it was counted to move.

One multiprocessor of an H100 does it all.  It makes 128 multiply-adds a cycle on floats, 1,024 on TF32 and 2,048 on
16-bit numbers (on tensor cores); it passes 128 bytes a cycle through the port that its first-level cache and its shared
memory have in common; and it starts four instructions of warps.  Whatever takes longest is what the kernel takes at
least.  Waiting, address arithmetic and barriers come on top.

NVIDIA, "NVIDIA H100 Tensor Core GPU Architecture", 2022, tables 1 to 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["SECTOR", "Bound", "flops_a_byte", "moved"]

SECTOR, WARP = 32, 32
MULTIPLY_ADDS = {"v7": 1024, "v8": 2048}  # a cycle
OF_AN_INSTRUCTION = {"v7": 16 * 8 * 8, "v8": 16 * 8 * 16}  # an mma's
ROUNDING = {"v7": 3}  # instructions for each mma: two for each of 24 numbers that 16 of them take
COPIED = ("v6", "v7", "v8")  # by cp.async, one instruction for load and store, past the first-level cache
PORT, STARTED = 128, 4
TERAFLOPS = {"v7": 495, "v8": 989}  # of all multiprocessors; 67 on floats
TERABYTES = 3.35  # a second, from device memory


def moved(found: dict[str, Any]) -> int:
    """Bytes of x and w moved from global memory."""
    return SECTOR * sum(found["global"][name]["sectors"] for name in "xw")


def flops_a_byte(version: str) -> tuple[float, float]:
    """FLOPs made at the peak while a byte comes from device memory, and while one comes from shared memory."""
    return TERAFLOPS.get(version, 67) / TERABYTES, 2 * MULTIPLY_ADDS.get(version, 128) / PORT


@dataclass(frozen=True)
class Bound:
    """Cycles of one multiprocessor, of the arithmetic at its peak, the port, and starting instructions."""

    arithmetic: int
    port: int
    issue: int

    @classmethod
    def of(cls, version: str, found: dict[str, Any]) -> Bound:
        products = found["multiply_adds"]
        written, read = found["shared"]["written"], found["shared"]["read"]
        loads = 0 if version in COPIED else sum(found["global"][name]["requests"] for name in "xw")
        of_ldmatrix = 4 if version in MULTIPLY_ADDS else 1  # requests of one instruction, where it is used
        instructions = (
            products // OF_AN_INSTRUCTION.get(version, WARP) * (1 + ROUNDING.get(version, 0))
            + loads
            + found["global"]["y"]["requests"]
            + written["requests"]
            + read["requests"] // of_ldmatrix
        )
        return cls(
            arithmetic=products // MULTIPLY_ADDS.get(version, 128),
            port=(0 if version in COPIED else moved(found) // PORT) + written["cycles"] + read["cycles"],
            issue=instructions // STARTED,
        )

    @property
    def share(self) -> float:
        return self.arithmetic / max(self.arithmetic, self.port, self.issue)
