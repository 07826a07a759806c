"""Receptive fields, read off the graph that a forward pass leaves behind.

What an output pixel can depend on is a rectangle of the image.  Along each axis that of output pixel 0
reaches from `first` to `last`, and the next pixel's lies `jump` further on.  A pixel of the image itself has
(0, 0, 1), and each Function turns the spans of its inputs into that of its output:

    window       first − before·jump,   last + (extent − 1 − before)·jump,   jump·stride
    padding      both ends moved by −before·jump
    a slice      both ends moved by start·jump,   jump·step
    elementwise  as it was
    all others   what all places together see, inside the image: flatten, dense layers, global pooling

Where branches meet, the rectangle covers those of all of them.  No layer and no model is known here: what
runs can be measured.

References
----------
A. Araujo, W. Norris and J. Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill, 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..ops.conv_transpose2d import ConvTranspose2d
from ..ops.pad import Pad
from ..ops.shape import GetItem
from ..tensor import Function, Tensor

__all__ = ["Field", "Span", "receptive_fields"]

Shape = tuple[int, ...]


class Span(NamedTuple):
    """What output pixel 0 sees along one axis, `first` to `last`, and how much further on the next one looks.

    Places below 0, or beyond the image, are padding.  The jump is 0 where there is no next pixel.
    """

    first: int
    last: int
    jump: int

    @property
    def size(self) -> int:
        """Pixels from the first to the last, both counted."""
        return self.last - self.first + 1

    def moved(self, places: int, step: int = 1) -> Span:
        """Return the span `places` further on, where each `step`-th pixel is kept."""
        return Span(self.first + places * self.jump, self.last + places * self.jump, self.jump * step)

    def through_window(self, before: int, extent: int, stride: int) -> Span:
        """Return the span of a window over `extent` places that begins `before` places early."""
        wide = self._replace(last=self.last + (extent - 1) * self.jump)
        return wide.moved(-before, stride)

    def of_all(self, places: int, image: int) -> Span:
        """Return the span of all the places together, on an image of that many pixels."""
        return Span(max(self.first, 0), min(self.last + (places - 1) * self.jump, image - 1), 0)


Field = tuple[Span, Span]
"""The spans along the rows and along the columns."""

_PIXEL = Span(0, 0, 1), Span(0, 0, 1)


def receptive_fields(image: Tensor, outputs: Sequence[Tensor]) -> list[Field | None]:
    """Return what a pixel of each output sees of the image.

    Parameters
    ----------
    image : Tensor (N, C, H, W)
        A leaf that required a gradient when the outputs were computed from it.
    outputs : sequence of Tensors

    Returns
    -------
    list of (Span, Span) or None
        None where nothing was recorded, or the output does not depend on the image, or there was a transposed
        convolution on the way: its pixels see areas of different sizes.

    Examples
    --------
    >>> from minicnn import functional as F, nn, tensor
    >>> image = tensor([[[[0.0] * 9] * 9]], requires_grad=True)
    >>> y = F.max_pool2d(nn.Conv2d(1, 1, 3, padding=1)(image), 2)
    >>> receptive_fields(image, [y])
    [(Span(first=-1, last=2, jump=2), Span(first=-1, last=2, jump=2))]
    """
    fields: dict[Function | Tensor, Field | None] = {image: _PIXEL}
    for function, after in _oldest_first(outputs):
        inputs = [(fields[edge], before) for edge, before in _inputs(function) if edge in fields]
        if inputs:
            seen = (f and _behind(function, f, before, after, image.shape[2:]) for f, before in inputs)
            fields[function] = _union(list(seen))
    return [fields.get(y.creator or y) for y in outputs]


def _inputs(function: Function) -> list[tuple[Function | Tensor, Shape]]:
    """Return where the inputs come from, those that need no gradient left out, and their shapes."""
    if function.edges is None:  # freed by a backward pass
        return []
    inputs = zip(function.edges, function.shapes, strict=True)
    return [(edge, shape) for edge, shape in inputs if edge is not None]


def _oldest_first(outputs: Sequence[Tensor]) -> list[tuple[Function, Shape]]:
    """Return the Functions behind these tensors and their outputs' shapes, each after all it depends on."""
    shapes: dict[Function, Shape] = {}
    waiting: list[tuple[Function | Tensor, Shape]] = [(y.creator or y, y.shape) for y in outputs]
    while waiting:
        function, shape = waiting.pop()
        if isinstance(function, Function) and function not in shapes:
            shapes[function] = shape
            waiting += _inputs(function)
    return sorted(shapes.items(), key=lambda item: item[0].number)


def _behind(function: Any, field: Field, before: Shape, after: Shape, image: Shape) -> Field | None:
    """Return the field of a function's output, of shape `after`, from that of an input of shape `before`."""
    if isinstance(function, ConvTranspose2d):
        return None
    if hasattr(function, "window") and len(before) == len(after) == 4:
        window = function.window
        return _each(Span.through_window, field, window.padding[::2], window.extent, window.stride)
    if isinstance(function, Pad) and len(before) > 2:
        return _each(Span.moved, field, [-amount for amount, _ in function.amounts[-2:]])
    if isinstance(function, GetItem) and (kept := _slices(function.index, before)):
        return _each(Span.moved, field, [part.start for part in kept], [part.step for part in kept])
    if len(after) > 2 and after[-2:] == before[-2:]:
        return field
    return _each(Span.of_all, field, before[-2:] if len(before) > 2 else (1, 1), image)


def _each(change: Callable[..., Span], field: Field, *arguments: Sequence[int]) -> Field:
    """Return the spans changed, each argument being a pair for the rows and the columns."""
    rows, columns = map(change, field, *arguments)
    return rows, columns


def _slices(index: Any, shape: Shape) -> list[range]:
    """Return which rows and columns of images (N, C, H, W) a slice keeps; nothing for any other index."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if len(shape) != 4 or not all(part is ... or isinstance(part, slice) for part in parts):
        return []
    at = parts.index(...) if ... in parts else len(parts)
    parts[at : at + 1] = [slice(None)] * (4 - len(parts) + (... in parts))
    return [range(*part.indices(size)) for part, size in zip(parts[2:], shape[2:], strict=True)]


def _union(fields: Sequence[Field | None]) -> Field | None:
    """Return the rectangle that covers all of these."""
    known = [field for field in fields if field]
    if len(known) < len(fields):
        return None
    rows, columns = (
        Span(min(s.first for s in spans), max(s.last for s in spans), max(s.jump for s in spans))
        for spans in zip(*known, strict=True)
    )
    return rows, columns
