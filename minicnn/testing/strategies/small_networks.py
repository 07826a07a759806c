"""Small networks: random graphs of operations on images.

A sketch grows line by line.  Each line applies one operation to values that are there already, so a value may be
used many times, added to a later one, or joined with it.  The values are kept as tensors on the meta device, which
know their shapes and refuse what does not fit.  In the end, lines that the result does not need are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ... import backend
from ... import functional as F
from ...nn.check import int_of_at_least
from ...tensor import Tensor
from ..small_network import SmallNetwork
from ..values import fill, fill_weight, type_of_numbers
from .arrays import seeds
from .shapes import Shape, shapes
from .windows import windows

__all__ = ["small_networks"]

_NAME = re.compile(r"\b[xwbh]\d+\b")
"""Images, weights, biases, and what is computed from them."""

_MOST_CHANNELS = 6

# The ages of values do not depend on how many there are, so they mean the same when a line is taken out.
_MOSTLY_NEW = st.sampled_from([0, 0, 0, 0, 1, 2, 3])
_OF_ANY_AGE = st.sampled_from([0, 1, 2, 3, None])


def small_networks(*, max_steps: int = 6, dtype: Any = np.float64) -> st.SearchStrategy[SmallNetwork]:
    """Draw a network of a few operations, in which values are used again, added and concatenated.

    Shrinks to few lines.  Inside, ReLUs and max pools may be at a kink by chance, whatever the inputs.

    Parameters
    ----------
    max_steps : int, at least 1
        Lines, at most.
    dtype : dtype
        Of all inputs, which are distinct numbers: float32 or float64.

    Returns
    -------
    strategy of SmallNetwork
        Called with tensors of its ``inputs``, images (N, C, H, W) and parameters; its repr is a script.

    Raises
    ------
    ValueError, TypeError
        If there is to be no line, or the dtype is another.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(small_networks(), lambda network: True)
    import numpy as np
    from minicnn import functional as F
    <BLANKLINE>
    def network(x0):
        h0 = F.relu(x0)
        return h0
    <BLANKLINE>
    inputs = (np.array([[[[...]]]]),)
    """
    most = int_of_at_least(1, "small_networks", "max_steps", max_steps)
    return _small_networks(most, type_of_numbers("small_networks", "distinct", dtype))


@st.composite
def _small_networks(draw: st.DrawFn, max_steps: int, dtype: np.dtype) -> SmallNetwork:
    with backend.device("meta"):
        sketch = _Sketch(draw)
        sketch.input("x", draw(shapes(4, max_side=4)))
        while len(sketch.lines) < max_steps and draw(_line(sketch)):
            pass
    return sketch.network(draw(seeds()), dtype)


@st.composite
def _line(draw: st.DrawFn, sketch: _Sketch) -> bool:
    """Add a line, or end; as a draw of its own, a line is taken out as a whole when a network shrinks."""
    operations = [operation for operation, takes in _OPERATIONS if takes(sketch.newest)]
    operation = draw(st.sampled_from([None, *operations]))
    if operation is None and sketch.lines:
        return False
    (operation or operations[0])(sketch)
    return True


class _Sketch:
    """A network in the making: its values by name, and the lines that compute them."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.values: dict[str, Tensor] = {}
        self.lines: list[tuple[str, str]] = []

    def input(self, letter: str, shape: Shape) -> str:
        """Add an argument of the network, and return its name."""
        name = f"{letter}{sum(known[0] == letter for known in self.values)}"
        self.values[name] = Tensor(backend.get("meta").zeros(shape, np.dtype(np.float64)))
        return name

    @property
    def newest(self) -> Shape:
        """The shape of the last line."""
        return self.values[self.lines[-1][0] if self.lines else "x0"].shape

    def pick(self, takes: Callable[[Shape], bool]) -> tuple[str, Shape]:
        """Draw a value of a shape that an operation takes, mostly the newest one."""
        name = self._aged(self.draw(_MOSTLY_NEW), takes)
        return name, self.values[name].shape

    def partner(self, shape: Shape, takes: Callable[[Shape], bool]) -> str:
        """Draw another value to go with one, or make it a new image of the same shape."""
        age = self.draw(_OF_ANY_AGE)
        return self.input("x", shape) if age is None else self._aged(age, takes)

    def _aged(self, age: int, takes: Callable[[Shape], bool]) -> str:
        """Return the newest value but `age` that an operation takes, or the oldest."""
        values = reversed(self.values.items())
        fitting = [name for name, value in values if name[0] in "xh" and takes(value.shape)]
        return fitting[min(age, len(fitting) - 1)]

    def add(self, expression: str) -> None:
        """Add the line that computes this."""
        name = f"h{len(self.lines)}"
        self.values[name] = eval(expression, {"F": F}, self.values)
        self.lines.append((name, expression))

    def network(self, seed: int, dtype: Any) -> SmallNetwork:
        """Return the network whose output is the last line."""
        lines = self._needed()
        used = list(dict.fromkeys(name for _, line in lines for name in _NAME.findall(line)))
        arguments = sorted((n for n in used if n[0] != "h"), key=lambda n: (n[0] != "x", used.index(n)))
        renamed = _numbered([*arguments, *(name for name, _ in lines)])
        body = [f"    {renamed[name]} = {_NAME.sub(lambda m: renamed[m[0]], line)}\n" for name, line in lines]
        head = f"def network({', '.join(renamed[name] for name in arguments)}):\n"
        source = head + "".join(body) + f"    return {renamed[lines[-1][0]]}\n"
        inputs = (
            (fill if name[0] == "x" else fill_weight)(self.values[name].shape, seed=seed + i, dtype=dtype)
            for i, name in enumerate(arguments)
        )
        return SmallNetwork(source, tuple(inputs))

    def _needed(self) -> list[tuple[str, str]]:
        needed, lines = {self.lines[-1][0]}, []
        for name, line in reversed(self.lines):
            if name in needed:
                needed.update(_NAME.findall(line))
                lines.insert(0, (name, line))
        return lines


def _numbered(names: list[str]) -> dict[str, str]:
    """Return new names, the numbers of each letter without gaps."""
    return {name: f"{name[0]}{[n for n in names if n[0] == name[0]].index(name)}" for name in names}


def _options(options: dict[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in options.items())


def _any(shape: Shape) -> bool:
    return True


def _is_images(shape: Shape) -> bool:
    return len(shape) == 4


def _is_many(shape: Shape) -> bool:
    return _is_images(shape) and shape[0] * shape[2] * shape[3] > 1


def _is_narrow(shape: Shape) -> bool:
    return _is_images(shape) and shape[1] <= _MOST_CHANNELS // 2


def _unary(expression: str, takes: Callable[[Shape], bool] = _any) -> Callable[[_Sketch], None]:
    return lambda sketch: sketch.add(expression.format(sketch.pick(takes)[0]))


def _residual(sketch: _Sketch) -> None:
    h, shape = sketch.pick(_any)
    sketch.add(f"{h} + {sketch.partner(shape, lambda other: other == shape)}")


def _gate(sketch: _Sketch) -> None:
    h, shape = sketch.pick(_is_images)
    gate = sketch.partner(shape, lambda other: other in (shape, (*shape[:2], 1, 1)))
    sketch.add(f"{h} * F.sigmoid({gate})")


def _concatenation(sketch: _Sketch) -> None:
    h, shape = sketch.pick(_is_narrow)
    beside = sketch.partner(shape, lambda o: _is_narrow(o) and (o[0], *o[2:]) == (shape[0], *shape[2:]))
    sketch.add(f"F.cat([{h}, {beside}], 1)")


def _conv2d(sketch: _Sketch) -> None:
    h, shape = sketch.pick(_is_images)
    window = sketch.draw(windows(*shape[2:], max_kernel=3, max_dilation=2, max_stride=2, max_padding=1))
    size = window.pop("kernel_size")
    kernel = (size, size) if isinstance(size, int) else size
    channels = sketch.draw(st.integers(1, 3))
    w = sketch.input("w", (channels, shape[1], *kernel))
    b = f", {sketch.input('b', (channels,))}" if sketch.draw(st.booleans()) else ""
    sketch.add(f"F.conv2d({h}, {w}{b}{_options(window)})")


def _max_pool2d(sketch: _Sketch) -> None:
    h, shape = sketch.pick(_is_images)
    sketch.add(f"F.max_pool2d({h}{_options(sketch.draw(windows(*shape[2:], pooling=True, max_kernel=3)))})")


def _avg_pool2d(sketch: _Sketch) -> None:
    h, shape = sketch.pick(_is_images)
    window = sketch.draw(windows(*shape[2:], pooling=True, max_kernel=3, max_dilation=1))
    sketch.add(f"F.avg_pool2d({h}{_options(window)})")


def _batch_norm(sketch: _Sketch) -> None:
    h, shape = sketch.pick(_is_many)
    w, b = (sketch.input(letter, shape[1:2]) for letter in "wb")
    sketch.add(f"F.batch_norm({h}, None, None, {w}, {b}, training=True, eps=0.1)")


def _linear(sketch: _Sketch) -> None:
    h, shape = sketch.pick(_is_images)
    w = sketch.input("w", (sketch.draw(st.integers(1, 3)), int(np.prod(shape[1:]))))
    sketch.add(f"F.linear({h}.flatten(1), {w})")


_OPERATIONS: list[tuple[Callable[[_Sketch], None], Callable[[Shape], bool]]] = [
    (_unary("F.relu({})"), _any),
    (_residual, _any),
    (_concatenation, _is_narrow),
    (_gate, _is_images),
    (_unary("F.sigmoid({})"), _any),
    (_unary("F.tanh({})"), _any),
    (_unary("F.softmax({}, 1)"), _any),
    (_conv2d, _is_images),
    (_max_pool2d, _is_images),
    (_avg_pool2d, _is_images),
    (_unary("F.adaptive_avg_pool2d({}, 1)", _is_images), _is_images),
    (_unary("F.local_response_norm({}, 3, alpha=1.0)", _is_images), _is_images),
    (_unary("F.pad({}, (1, 0, 0, 2))", _is_images), _is_images),
    (_batch_norm, _is_many),
    (_linear, _is_images),
]
"""What a line may be, and the shapes it takes; the first is what others shrink to."""
