"""Convolution on a GPU: the versions of the kernels in ``kernels/*.cu``, as algorithms of CuPy arrays.

    direct                     the definition, a thread an output: version 1
    im2col                     unfold, and let cuBLAS multiply
    implicit_gemm_v2 … _v8     the product that never stores the unfolded images, from one warp an output to tensor
                               cores; v7 takes float32 and rounds it to TF32, v8 takes float16 and bfloat16
    winograd_2x2, _4x4         Winograd's convolution of 3×3 kernels, by the fastest kernels for the case

The kernels read channels-last images [N, H, W, C] and weights [K, R, S, C/groups], contiguous and from a multiple of 16
bytes on.  That is how minicnn lays them out, so a transposed view of (N, C, H, W) is all they need.  Arrays with other
strides are converted: copied to such memory first.

Sums of float16 and bfloat16 are kept in float32.  Nothing here waits for the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from .. import backend
from ..backend.cupy_device import launcher
from ..backend.gpu_rows import channels, is_packed, packed, rows, shape_last
from ..backend.ladder.col2im import col2im
from ..backend.ladder.conv2d_backward_data import conv2d_backward_data
from ..backend.ladder.conv2d_backward_weight import conv2d_backward_weight
from ..backend.ladder.conv2d_forward import conv2d_forward
from ..backend.ladder.im2col import im2col
from ..backend.ladder.im2col_conv2d import (
    im2col_conv2d,
    im2col_conv2d_backward_data,
    im2col_conv2d_backward_weight,
)
from ..backend.ladder.winograd import winograd_backward_data, winograd_forward
from ..backend.precision import tf32
from ..geometry import Window2d
from .cuda_able import in_float32_or_64, limits, version_for, winograd_can
from .problem import Direction, No, Problem

__all__ = ["ALGORITHMS", "by_count", "fold", "unfold"]

Array = Any
Answer = Literal[True] | No


class _OnGpu:
    """What the algorithms share: arrays as the kernels take them, and no kernel for a batch of no images."""

    functions: ClassVar[Mapping[Direction, Callable[..., Array]]]
    """Of the ladder."""

    def options(self, direction: Direction, dtype: Any, window: Window2d, groups: int) -> dict[str, Any]:
        """Return what to call the direction's function with, beside the arrays."""
        raise NotImplementedError(f"{type(self).__name__} defines no options")

    def run(
        self, direction: Direction, window: Window2d, groups: int, x: Array, *arguments: Any, **options: Any
    ) -> Array:
        """Start the direction's function for arrays [N, H, W, C] and what else it takes."""
        options |= self.options(direction, x.dtype, window, groups)
        return launcher().run(self.functions[direction], x, *arguments, **options)

    def forward(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        window: Window2d,
        groups: int,
        out: Array,
        relu: bool = False,
    ) -> None:
        """Write x ∗ w + b, or with `relu` its positive part, into `out`."""
        if out.size:
            arrays = rows(x), rows(w), b if b is None else packed(b)
            _into(out, partial(self.run, "forward", window, groups, *arrays, relu=bool(relu)))

    def backward_data(
        self, g: Array, w: Array, input_shape: tuple[int, ...], window: Window2d, groups: int
    ) -> Array:
        """Return ∂L/∂x."""
        if not g.size:
            return _zeros(g, input_shape)
        shape = shape_last(input_shape)
        return channels(self.run("backward_data", window, groups, rows(g), rows(w), shape))

    def backward_weight(self, x: Array, g: Array, window: Window2d, groups: int) -> Array:
        """Return ∂L/∂w."""
        if not g.size:
            return _zeros(g, (g.shape[1], x.shape[1] // groups, *window.kernel))
        return channels(self.run("backward_weight", window, groups, rows(x), rows(g)))


class Ladder(_OnGpu):
    """One version of the kernels of ``kernels/conv2d_*.cu``: the direct sum, or an implicit product.

    Parameters
    ----------
    version : str
        Of the ladders of the three directions, ``"v5"``.
    """

    functions: ClassVar = {
        "forward": conv2d_forward,
        "backward_data": conv2d_backward_data,
        "backward_weight": conv2d_backward_weight,
    }

    def __init__(self, version: str) -> None:
        self.version = version

    def supports(self, problem: Problem, direction: Direction) -> Answer:
        """Whether the current GPU can compute a problem so; if not, the reason."""
        if self.version == "v7" and not tf32():
            return No("it rounds float32 to TF32, which is not allowed here")
        found = version_for(problem, direction, self.version, limits())
        return found if isinstance(found, No) else True

    def options(self, direction: Direction, dtype: Any, window: Window2d, groups: int) -> dict[str, Any]:
        """Return the convolution and the version."""
        return {"window": window, "groups": groups, "version": self.version}


class Im2col(_OnGpu):
    """Unfold the images, and let cuBLAS multiply; the bias and the positive part are passes of their own."""

    functions: ClassVar = {
        "forward": im2col_conv2d,
        "backward_data": im2col_conv2d_backward_data,
        "backward_weight": im2col_conv2d_backward_weight,
    }

    def supports(self, problem: Problem, direction: Direction) -> Answer:
        """Whether a GPU can compute a problem so; if not, the reason."""
        return in_float32_or_64(problem)

    def options(self, direction: Direction, dtype: Any, window: Window2d, groups: int) -> dict[str, Any]:
        """Return the convolution."""
        size = {"kernel_size": window.kernel} if direction == "backward_weight" else {}
        return size | _spelled_out(window) | {"groups": groups}

    def run(
        self, direction: Direction, window: Window2d, groups: int, x: Array, *arguments: Any, **options: Any
    ) -> Array:
        """Start it with cuBLAS's products at the precision that is allowed."""
        from ..backend.gpu_matmul import as_allowed  # which imports CuPy

        with as_allowed(x):
            return super().run(direction, window, groups, x, *arguments, **options)

    def forward(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        window: Window2d,
        groups: int,
        out: Array,
        relu: bool = False,
    ) -> None:
        """Write x ∗ w + b, or with `relu` its positive part, into `out`."""
        if out.size:
            _into(out, partial(self.run, "forward", window, groups, rows(x), rows(w)))
        be = backend.of(out)
        if b is not None:
            be.in_pieces(lambda b, y: be.add(y, b, out=y), b, out)
        if relu:
            be.in_pieces(lambda y: be.maximum(y, 0, out=y), out)


class Winograd(_OnGpu):
    """F(m×m, 3×3), of images and of their gradient; for the gradient of the kernels there are no kernels.

    Parameters
    ----------
    versions : mapping of str to str or None
        The version of ``kernels/winograd.cu`` for each dtype; None is the fastest of F(2×2, 3×3) for the case.
    """

    functions: ClassVar = {"forward": winograd_forward, "backward_data": winograd_backward_data}

    def __init__(self, versions: Mapping[str, str | None]) -> None:
        self.versions = versions

    def supports(self, problem: Problem, direction: Direction) -> Answer:
        """Whether the current GPU can compute a problem so; if not, the reason."""
        if direction == "backward_weight":
            return No("on a GPU it has no gradient of the weight")
        if problem.groups != 1:
            return No(f"groups must be 1, got {problem.groups}")
        if not (answer := in_float32_or_64(problem)):
            return answer
        return winograd_can(problem, direction, self.versions[problem.dtype.name], limits())

    def options(self, direction: Direction, dtype: Any, window: Window2d, groups: int) -> dict[str, Any]:
        """Return the window and the version."""
        return {"window": window, "version": self.versions[dtype.name]}


ALGORITHMS = {
    "direct": Ladder("v1"),
    "im2col": Im2col(),
    **{f"implicit_gemm_v{n}": Ladder(f"v{n}") for n in range(2, 9)},
    "winograd_2x2": Winograd({"float32": None, "float64": None}),
    "winograd_4x4": Winograd({"float32": "winograd4_v2", "float64": "winograd4_v1"}),
}


def by_count(problem: Problem, direction: Direction) -> str | No:
    """Return the name of the algorithm that the ladder takes by a count of its work, or why there is none.

    Where rounding to TF32 is allowed it is version 7 in the place of the other tiled versions; and im2col where the
    ladder has nothing, as for float64 that needs indices of 64 bits.
    """
    found = version_for(problem, direction, None, limits())
    if isinstance(found, No):
        return "im2col" if ALGORITHMS["im2col"].supports(problem, direction) else found
    if found not in ("v1", "v2", "v8") and ALGORITHMS["implicit_gemm_v7"].supports(problem, direction):
        return "implicit_gemm_v7"
    return "direct" if found == "v1" else f"implicit_gemm_{found}"


def unfold(x: Array, window: Window2d) -> Array:
    """Return the columns (N·P·Q, R·S·C) of x (N, C, H, W), of float32 or float64."""
    return launcher().run(im2col, rows(x), window.kernel, **_spelled_out(window))[0]


def fold(columns: Array, input_shape: tuple[int, ...], window: Window2d) -> Array:
    """Return Σ of the entries of columns (N·P·Q, R·S·C) at the pixels they come from, (N, C, H, W)."""
    arguments = packed(columns)[None], shape_last(input_shape), window.kernel
    return channels(launcher().run(col2im, *arguments, **_spelled_out(window)))


# The arrays


def _into(out: Array, run: Callable[..., Array]) -> None:
    """Let ``run(out=…)`` write into `out` (N, K, P, Q), or copy its result there if it cannot."""
    y = out.transpose(0, 2, 3, 1)
    if is_packed(y):
        run(out=y)
    else:
        y[...] = run()


def _zeros(like: Array, shape: tuple[int, ...]) -> Array:
    return backend.of(like).full_images(*shape, like.dtype, 0)


def _spelled_out(window: Window2d) -> dict[str, Any]:
    return {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}
