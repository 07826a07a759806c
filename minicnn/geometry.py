"""The geometry of a sliding window: what convolution and pooling share.

A kernel of R×S samples, ``stride`` apart, slides over an input of H×W pixels with ``padding`` around it, its
samples ``dilation`` apart.  Along one axis, with p padded pixels before and q after,

    extent = dilation · (R − 1) + 1                       pixels from the first sample to the last
    P      = ⌊(H + p + q − extent) / stride⌋ + 1          windows that fit

In ceil mode the division rounds up, so a last window may hang over the end; a window that would *start* in the
padding after the input is dropped again, for it would see no pixel.

References
----------
V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016, sections 2 to 5.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Pair", "Window2d", "inside", "pair"]

Pair = int | Sequence[int]
"""What a window's size, stride, dilation or symmetric padding may be given as: an int, or one int an axis."""


def pair(op: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """One int for each axis, from an int or a pair of them.

    Parameters
    ----------
    op, name : str
        The operation and the argument, for the error message.
    value : int or sequence of two ints
    least : int
        The smallest value allowed.

    Raises
    ------
    TypeError
        If `value` is neither an int nor a sequence of ints.
    ValueError
        If it has another length, or a value below `least`.

    Examples
    --------
    >>> pair("conv2d", "stride", 2, least=1)
    (2, 2)
    """
    first, second = _ints(op, name, value, lengths=(2,))
    if min(first, second) < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {value}")
    return first, second


def inside(first: int, stride: int, size: int, count: int) -> tuple[slice, slice]:
    """Which of the `count` places first, first + stride, … lie on an axis of `size` pixels, and on which pixels.

    Examples
    --------
    >>> inside(-1, 2, size=4, count=4)
    (slice(1, 3, None), slice(1, 5, 2))
    """
    start = max(0, -(first // stride))
    stop = max(start, min(count, (size - 1 - first) // stride + 1))
    pixel = first + start * stride
    return slice(start, stop), slice(pixel, pixel + (stop - start) * stride, stride)


def _ints(op: str, name: str, value: Any, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """`value` as a tuple of ints of one of these lengths; one int alone stands for a pair of itself."""
    values = value if type(value) is tuple else _values(value)  # it nearly always is: layers hold tuples
    try:
        ints = tuple(map(operator.index, values))
    except TypeError:
        ints = None
    # To Python a bool is an int; stride=True is a mistake all the same.
    if ints is None or bool in map(type, values):
        raise TypeError(f"{op}: {name} must be an int or a tuple of ints, got {value!r}")
    if len(ints) == 1:
        return ints * 2
    if len(ints) not in lengths:
        expected = " or ".join(map(str, lengths))
        raise ValueError(f"{op}: {name} must be an int or {expected} ints, got {value!r}")
    return ints


def _values(value: Any) -> tuple[Any, ...]:
    single = (
        not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0
    )  # an array of no axes is one number
    return (value,) if single else tuple(value)


@dataclass(frozen=True)
class Window2d:
    """A validated sliding window over the last two axes of an image batch.

    Build one with :meth:`of`, which accepts everything PyTorch's functions accept and raises errors that name the
    operation.

    Attributes
    ----------
    kernel : tuple of (R, S)
        Samples of the kernel.
    stride, dilation : tuple of two ints
    padding : tuple of (top, bottom, left, right)
    ceil_mode : bool
        Round the output size up instead of down (pooling only).
    op : str
        The operation this window serves, named in errors; no part of its value.

    Examples
    --------
    >>> window = Window2d.of("conv2d", kernel_size=3, stride=2, padding=1)
    >>> window.output_size(224, 224)
    (112, 112)
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil_mode: bool = False
    op: str = field(default="window", compare=False)

    @classmethod
    def of(
        cls,
        op: str,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        ceil_mode: bool = False,
    ) -> Window2d:
        """Validate a window given the way PyTorch's functions take it.

        Parameters
        ----------
        op : str
            The operation's name, for errors.
        kernel_size, stride, dilation : int or pair, at least 1
        padding : int, (vertical, horizontal), (top, bottom, left, right), 'valid' or 'same'
            'same' keeps the size at stride 1; where the padding is odd, the extra row or column is after the
            input, as in PyTorch.

        Raises
        ------
        TypeError, ValueError
            Naming `op`, the rule and the value.
        """
        kernel = pair(op, "kernel_size", kernel_size, least=1)
        steps = pair(op, "stride", stride, least=1)
        dilations = pair(op, "dilation", dilation, least=1)
        extents = _extents(kernel, dilations)
        return cls(kernel, steps, _padding(op, padding, extents, steps), dilations, bool(ceil_mode), op)

    @property
    def extent(self) -> tuple[int, int]:
        """Pixels from the kernel's first sample to its last, both counted."""
        return _extents(self.kernel, self.dilation)

    @property
    def samples(self) -> int:
        """R·S, the samples one window takes of one channel."""
        return self.kernel[0] * self.kernel[1]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Windows that fit along each axis of an input of this size: (P, Q).

        Raises
        ------
        ValueError
            If not one window fits.
        """
        before_after = self.padding[:2], self.padding[2:]
        size = tuple(map(self._windows, (height, width), before_after, self.extent, self.stride))
        if min(size) < 1:
            top, bottom, left, right = self.padding
            raise ValueError(
                f"{self.op}: the kernel must fit into the padded input; kernel {_times(self.kernel)} with dilation "
                f"{self.dilation} covers {_times(self.extent)}, input {_times((height, width))} padded to "
                f"{_times((height + top + bottom, width + left + right))}"
            )
        return size[0], size[1]

    def _windows(self, size: int, padding: Sequence[int], extent: int, stride: int) -> int:
        before, after = padding
        room = size + before + after - extent
        if not self.ceil_mode:
            return room // stride + 1
        start_inside = (size + before - 1) // stride + 1
        return min(-(-room // stride) + 1, start_inside)

    def reach(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the padding (top, bottom, left, right) after which the windows exactly cover the input.

        The last two of each axis differ from :attr:`padding` where a ceil-mode window hangs over the end (more),
        or where the stride leaves a rest that no window sees (less, even negative: the input is cut there).
        """
        p, q = self.output_size(height, width)
        top, _, left, _ = self.padding
        bottom = (p - 1) * self.stride[0] + self.extent[0] - height - top
        right = (q - 1) * self.stride[1] + self.extent[1] - width - left
        return top, bottom, left, right

    def offsets(self) -> Iterator[tuple[int, int]]:
        """Yield the kernel's samples (r, s) in row-major order."""
        return ((r, s) for r in range(self.kernel[0]) for s in range(self.kernel[1]))

    def seen(self, axis: int, windows: slice) -> slice:
        """Return the pixels that some windows see along an axis; in the padding they are below 0 or beyond the end.

        Examples
        --------
        >>> Window2d.of("conv2d", kernel_size=3, stride=2, padding=1).seen(0, slice(0, 4))
        slice(-1, 8, None)
        """
        stride, before = self.stride[axis], self.padding[2 * axis]
        return slice(
            windows.start * stride - before, (windows.stop - 1) * stride - before + self.extent[axis]
        )

    def at(self, r: int, s: int, p: int, q: int) -> tuple[Any, ...]:
        """Index that picks, from the padded input, what sample (r, s) of each of the P×Q windows sees.

        Examples
        --------
        >>> Window2d.of("pool", kernel_size=2, stride=2).at(0, 1, p=3, q=3)
        (Ellipsis, slice(0, 5, 2), slice(1, 6, 2))
        """
        (sh, sw), (dh, dw) = self.stride, self.dilation
        rows = slice(r * dh, r * dh + (p - 1) * sh + 1, sh)
        columns = slice(s * dw, s * dw + (q - 1) * sw + 1, sw)
        return ..., rows, columns


def _extents(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    return dilation[0] * (kernel[0] - 1) + 1, dilation[1] * (kernel[1] - 1) + 1


def _padding(
    op: str, padding: Any, extent: tuple[int, int], stride: tuple[int, int]
) -> tuple[int, int, int, int]:
    if isinstance(padding, str):
        return _named_padding(op, padding, extent, stride)
    values = _ints(op, "padding", padding, lengths=(2, 4))
    if min(values) < 0:
        raise ValueError(f"{op}: padding must be at least 0, got {padding}")
    if len(values) == 2:
        values = (values[0], values[0], values[1], values[1])
    top, bottom, left, right = values
    return top, bottom, left, right


def _named_padding(
    op: str, name: str, extent: tuple[int, int], stride: tuple[int, int]
) -> tuple[int, int, int, int]:
    if name == "valid":
        return 0, 0, 0, 0
    if name != "same":
        raise ValueError(f"{op}: padding must be 'same', 'valid' or numbers, got {name!r}")
    if stride != (1, 1):
        raise ValueError(f"{op}: padding='same' needs stride 1, got stride {stride}")
    vertical, horizontal = extent[0] - 1, extent[1] - 1
    top, left = vertical // 2, horizontal // 2
    return top, vertical - top, left, horizontal - left


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
