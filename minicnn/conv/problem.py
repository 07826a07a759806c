"""One convolution's shapes: all that the choice of an algorithm, and its cost, may depend on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from ..geometry import Window2d

__all__ = ["DIRECTIONS", "Direction", "No", "Problem"]

Direction = Literal["forward", "backward_data", "backward_weight"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward_data", "backward_weight")


@dataclass(frozen=True)
class No:
    """A refusal, false as a condition, with its reason.

    Examples
    --------
    >>> answer = No("the stride must be 1, got (2, 2)")
    >>> bool(answer), answer.reason
    (False, 'the stride must be 1, got (2, 2)')
    """

    reason: str

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True)
class Problem:
    """The shapes and the dtype of a convolution, which must fit together.

    Attributes
    ----------
    input_shape : tuple (N, C, H, W)
    kernels : int
        K, the output channels.
    window : Window2d
    groups : int
    dtype : numpy.dtype

    Examples
    --------
    >>> window = Window2d.of("conv2d", 3, padding=1)
    >>> problem = Problem((8, 64, 56, 56), 128, window, 1, np.dtype("float32"))
    >>> problem.output_shape, problem.weight_shape, problem.flops
    ((8, 128, 56, 56), (128, 64, 3, 3), 3699376128)
    """

    input_shape: tuple[int, ...]
    kernels: int
    window: Window2d
    groups: int = 1
    dtype: np.dtype = field(default_factory=lambda: np.dtype(np.float32))

    @cached_property
    def output_shape(self) -> tuple[int, int, int, int]:
        """(N, K, P, Q)."""
        n, _, height, width = self.input_shape
        return (n, self.kernels, *self.window.output_size(height, width))

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """(K, C/groups, R, S)."""
        return (self.kernels, self.input_shape[1] // self.groups, *self.window.kernel)

    @property
    def flops(self) -> int:
        """Additions and multiplications of the definition, in any one direction: 2·N·K·P·Q·(C/groups)·R·S."""
        return 2 * math.prod(self.output_shape) * math.prod(self.weight_shape[1:])
