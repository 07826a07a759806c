"""A network's layers, one row each: what comes out, what is learned, what it costs, how far it sees.

The network runs once, on one image of zeros, with a hook on each layer that notes its calls.  The receptive
fields are read off the graph of that run, so a network is measured as it computes, not as it is declared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from .. import backend, nn
from ..tensor import Tensor, enable_grad
from ..training.evaluate import evaluating
from .cost import cost
from .receptive_field import receptive_fields

__all__ = ["Row", "Summary", "summary"]

_HEADINGS = ("layer", "kind", "output", "parameters", "connections", "MACs", "sees", "every")
_NAMES = 2  # the columns that hold names; the others are numbers


@dataclass(frozen=True)
class Row:
    """One call of a layer, for one image.

    Attributes
    ----------
    name : str
        The layer's dotted name in the network.
    kind : str
        Its class.
    output_shape : tuple of int
    parameters : int
        Learned numbers; 0 where the layer was called before.
    connections, macs : int
        As :mod:`minicnn.study.cost` counts them.
    receptive_field : pair of int, or None
        Rows and columns of the image that an output pixel can depend on; padding may be among them.  None
        where they cannot be told (see :func:`~minicnn.study.receptive_field.receptive_fields`).
    jump : pair of int, or None
        Rows and columns from what an output pixel sees to what the next one sees; 0 where there is no next
        one.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    connections: int
    macs: int
    receptive_field: tuple[int, int] | None
    jump: tuple[int, int] | None


@dataclass(frozen=True)
class Summary:
    """What :func:`summary` returns; printed, it is a table.

    Attributes
    ----------
    model : str
        The network's class.
    input_shape : tuple of int
    rows : tuple of Row
        In the order of the calls.
    parameters : int
        Of the whole network.
    """

    model: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    parameters: int

    @property
    def connections(self) -> int:
        """Of all rows."""
        return sum(row.connections for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all rows."""
        return sum(row.macs for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return everything in a form that ``json.dumps`` takes."""
        return {**asdict(self), "connections": self.connections, "macs": self.macs}

    def table(self) -> Any:
        """Return a :class:`rich.table.Table`."""
        from rich.table import Table

        table = Table(title=f"{self.model} on {_times(self.input_shape)}", show_footer=True)
        for heading, foot, place in zip(_HEADINGS, self._totals(), range(len(_HEADINGS)), strict=True):
            table.add_column(heading, foot, justify="left" if place < _NAMES else "right")
        for row in self.rows:
            table.add_row(*_cells(row))
        return table

    def __str__(self) -> str:
        lines = [_HEADINGS, *map(_cells, self.rows), self._totals()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        title = f"{self.model} on {_times(self.input_shape)}"
        return "\n".join([title, *(_aligned(line, widths) for line in lines)])

    def _totals(self) -> tuple[str, ...]:
        numbers = (f"{n:,}" for n in (self.parameters, self.connections, self.macs))
        return "total", "", "", *numbers, "", ""


def summary(model: nn.Module, input_shape: Sequence[int] | None = None) -> Summary:
    """Run a network on one image of zeros and list its layers.

    The network is left as it was: its mode, its running statistics, its hooks.

    Parameters
    ----------
    model : Module
    input_shape : sequence of int, optional
        Of one image, (C, H, W).  Default: the model's own ``input_shape``.

    Raises
    ------
    ValueError
        If the model states no input shape and none is given, or it is not made of positive ints.

    Examples
    --------
    >>> print(summary(nn.Sequential(nn.Conv2d(1, 6, 5), nn.MaxPool2d(2)), (1, 32, 32)))
    Sequential on 1×32×32
    layer  kind        output  parameters  connections     MACs  sees  every
    0      Conv2d     6×28×28         156      122,304  117,600   5×5    1×1
    1      MaxPool2d  6×14×14                    4,704            6×6    2×2
    total                             156      127,008  117,600
    """
    shape = _image_shape(model, input_shape)
    image = _zeros(model, shape)
    calls: list[_Call] = []
    with evaluating(model), enable_grad(), ExitStack() as hooks:
        for name, module in model.named_modules():
            if _is_layer(module):
                hooks.enter_context(module.register_forward_hook(_noting(name, calls)))
        model(image)
    return Summary(type(model).__name__, shape, _rows(image, calls), sum(p.size for p in model.parameters()))


class _Call(NamedTuple):
    """A layer's call during the run."""

    name: str
    layer: nn.Module
    input_shape: tuple[int, ...]
    output: Tensor


def _noting(name: str, calls: list[_Call]) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
    """Make a hook that adds a layer's calls to the list; of several outputs the first counts."""

    def note(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        first = output if isinstance(output, Tensor) else output[0]
        calls.append(_Call(name, layer, args[0].shape[1:], first))

    return note


def _is_layer(module: nn.Module) -> bool:
    """Whether a module does something itself, and not only through its children."""
    own = next(module.parameters(recurse=False), None)
    return own is not None or next(module.children(), None) is None


def _rows(image: Tensor, calls: list[_Call]) -> tuple[Row, ...]:
    outputs = [call.output for call in calls]
    fields = receptive_fields(image, outputs) if image.ndim == 4 else [None] * len(calls)
    counted: set[nn.Parameter] = set()
    rows = []
    for (name, layer, input_shape, output), field in zip(calls, fields, strict=True):
        new = set(layer.parameters(recurse=False)) - counted
        counted |= new
        shape = output.shape[1:]
        rows.append(
            Row(
                name,
                type(layer).__name__,
                shape,
                sum(parameter.size for parameter in new),
                *cost(layer, input_shape, shape),
                field and (field[0].size, field[1].size),
                field and (field[0].jump, field[1].jump),
            )
        )
    return tuple(rows)


def _image_shape(model: nn.Module, given: Sequence[int] | None) -> tuple[int, ...]:
    shape = getattr(model, "input_shape", None) if given is None else given
    if shape is None:
        raise ValueError(
            f"summary: {type(model).__name__} states no input_shape; pass one as input_shape=(C, H, W)"
        )
    shape = tuple(shape)
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(f"summary: input_shape must be positive ints, (C, H, W) for images, got {shape}")
    return shape


def _zeros(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Return one image where the parameters are, of their dtype, whose way through the model is recorded."""
    parameter = next(iter(model.parameters()), None)
    with backend.on("cpu" if parameter is None else parameter.device) as be:
        dtype = be.float32 if parameter is None else parameter.dtype
        return Tensor(be.zeros((1, *shape), dtype), requires_grad=True)


def _cells(row: Row) -> tuple[str, ...]:
    counts = (f"{n:,}" if n else "" for n in (row.parameters, row.connections, row.macs))
    places = (_times(pixels) if pixels and any(pixels) else "" for pixels in (row.receptive_field, row.jump))
    return row.name, row.kind, _times(row.output_shape), *counts, *places


def _times(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return one line of text: names to the left, numbers to the right."""
    padded = (
        cell.ljust(width) if place < _NAMES else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
