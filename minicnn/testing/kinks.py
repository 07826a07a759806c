"""ReLUs and max pools held to the side of their kink that they are on.

A deep network has millions of places where it bends: a ReLU whose input passes 0, a max pool where another
pixel becomes the largest.  However short a step, some of them are crossed, and a difference over that step is
not the derivative: for ResNet-50 it is off by a hundredth at steps of 10⁻⁵, and where rounding sets in, at
10⁻⁹, still by a millionth.

So the sides are noted at the point, and held while stepping away from it: a ReLU that let its input pass goes
on doing so, a max pool goes on taking the same pixel.  At the point, and as far around it as nothing crosses,
this is the network itself, to the last bit.  So it has the same derivative there, but no kinks, and its
differences converge as a smooth function's do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..ops.max_pool2d import MaxPool2d
from ..ops.relu import ReLU
from ..ops.window import surrounded

__all__ = ["Kinks"]


class Kinks:
    """The side that each ReLU and max pool of a computation is on.

    Attributes
    ----------
    sides : list of arrays
        One a call, in order: whether each input of a ReLU passes, which pixel of its window each output of a
        max pool takes.

    Examples
    --------
    >>> from minicnn import functional as F, tensor
    >>> kinks = Kinks()
    >>> with kinks.noted():
    ...     _ = F.relu(tensor([-1.0, 1.0]))
    >>> with kinks.held():
    ...     print(F.relu(tensor([3.0, -5.0])))
    tensor([ 0., -5.], dtype=float32)
    """

    def __init__(self) -> None:
        self.sides: list[np.ndarray] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note the sides of all calls inside the block, which compute as ever."""
        self.sides.clear()
        relu, max_pool = ReLU.forward, MaxPool2d.forward

        def noting_relu(function: Any, x: np.ndarray) -> np.ndarray:
            y = relu(function, x)
            self.sides.append(y > 0)
            return y

        def noting_max_pool(function: Any, x: np.ndarray) -> np.ndarray:
            function.with_indices = True  # so that it looks for them, also where no gradient is needed
            y = max_pool(function, x)
            self.sides.append(function.choice)
            return y

        with _computing(noting_relu, noting_max_pool):
            yield

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the sides noted, in a computation with the same calls."""
        sides = iter(self.sides)
        with _computing(lambda _, x: x * next(sides), lambda pool, x: _taken(pool, x, next(sides))):
            yield

    def crossed(self, other: Kinks) -> int:
        """Return how many are on another side than in `other`."""
        return sum(int(np.count_nonzero(a != b)) for a, b in zip(self.sides, other.sides, strict=True))

    def __len__(self) -> int:
        return sum(side.size for side in self.sides)


@contextmanager
def _computing(relu: Callable[..., Any], max_pool: Callable[..., Any]) -> Iterator[None]:
    """Let ReLUs and max pools compute by these functions inside the block."""
    kept = ReLU.forward, MaxPool2d.forward
    ReLU.forward, MaxPool2d.forward = relu, max_pool  # type: ignore[method-assign]
    try:
        yield
    finally:
        ReLU.forward, MaxPool2d.forward = kept  # type: ignore[method-assign]


def _taken(pool: Any, x: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """Return the pixel of each window that `choice` names."""
    p, q = choice.shape[2:]
    room = surrounded(pool.be, x, pool.window, 0)
    y = np.zeros_like(choice, dtype=x.dtype)
    for i, (r, s) in enumerate(pool.window.offsets()):
        np.copyto(y, room[pool.window.at(r, s, p, q)], where=choice == i)
    return y
