"""What the tests of the kernel ladder share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import ml_dtypes
import numpy as np
from emulated import Mode, launcher

__all__ = ["ORDERS", "TOLERANCE", "Launch", "close", "in_mode", "in_turn", "launches", "same_bits", "wide"]

ORDERS = ("forward", "reverse", "random")

TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}
TOLERANCE |= {np.dtype(np.float16): 2e-3, np.dtype(ml_dtypes.bfloat16): 1.6e-2}


def in_turn(case: int):
    """A launcher under the address sanitizer, its threads in another order for each case."""
    return launcher(order=ORDERS[case % len(ORDERS)], seed=case)


def in_mode(mode: Mode):
    return launcher(mode.check, mode.order, mode.copies)


def wide(on):
    """Make a launcher ask for 64-bit indices, as it does by itself from 2³¹ elements on."""
    on.launch = partial(on.launch, Index="long long")
    return on


def close(found, expected, tolerance=None, least=1e-30) -> None:
    """Hold what was found to float64, relative to the largest number of it; NaN and infinities must be in place.

    What is a difference of larger numbers is held to their size, `least`.
    """
    found_, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found_.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found_[~finite], expected[~finite])
    error = np.abs(found_[finite] - expected[finite]).max(initial=0)
    largest = np.abs(expected[finite]).max(initial=0)
    tolerance = TOLERANCE[np.asarray(found).dtype] if tolerance is None else tolerance
    assert error <= tolerance * max(largest, least), f"error {error:.3g} of numbers up to {largest:.3g}"


def same_bits(runs) -> None:
    """Hold all runs of the same case, each a list of arrays, to the first one's bits."""
    first, *others = runs
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert a.tobytes() == b.tobytes()


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel, and every access of its warps."""

    kernel: str
    accesses: list

    def of(self, *arguments: int) -> list:
        """The accesses to some arguments' arrays, counted from 0."""
        return [access for access in self.accesses if access.array in arguments]

    def bytes(self, *arguments: int) -> int:
        """What the threads ask for."""
        return sum(a.size * sum(at is not None for at in a.offsets) for a in self.of(*arguments))


def launches(call) -> list[Launch]:
    """Run `call(on)` and return what each launch moved, in order."""
    on, found = launcher(check="traffic"), []
    start = on.device.function

    def function(kernel, expression):
        run = start(kernel, expression)

        def launch(*arguments, **options):
            run(*arguments, **options)
            found.append(Launch(kernel.name, run.trace))

        return launch

    on.device.function = function
    call(on)
    return found
