"""What an operation of the ladders is to the benchmark, and what its cases are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from minicnn.geometry import Window2d

from .layers import Layer
from .peers import UNITS, Calls, Peers
from .rows import Case

Array = Any

OPERATIONS: dict[str, Operation] = {}
"""By the name of their rows; operations.py fills it."""


@dataclass(frozen=True)
class Operation:
    """What a ladder computes, and where.

    Attributes
    ----------
    name : str
        Of its rows in a record.
    kind : str
        Of the layers it is for.
    module, ladder : str
        The file minicnn/backend/ladder/`module`.py and the key of its ``LADDER``.
    build : callable
        Makes the case.
    dtypes : tuple of str
    fits : callable
        Whether it can do a layer of its kind, and a network needs it.
    """

    name: str
    kind: str
    module: str
    ladder: str
    build: Callable[[Bench], Case]
    dtypes: tuple[str, ...] = ("float32",)
    fits: Callable[[Layer], bool] = lambda layer: True

    @property
    def kernels(self) -> dict[str, tuple[str, ...]]:
        """Its versions, and the kernels each launches."""
        return host(self.module).LADDER[self.ladder]

    def case(self, device: Any, layer: Layer, batch: int, dtype: str) -> Case:
        return self.build(Bench(device, layer, batch, dtype, self))


def operation(
    kind: str, module: str = "", ladder: str = "", **options: Any
) -> Callable[[Callable[[Bench], Case]], Callable[[Bench], Case]]:
    """Enter the function that makes its case among :data:`OPERATIONS`, by the function's name."""

    def enter(build: Callable[[Bench], Case]) -> Callable[[Bench], Case]:
        name = build.__name__
        OPERATIONS[name] = Operation(name, kind, module or name, ladder or name, build, **options)
        return build

    return enter


@dataclass
class Bench:
    """What the functions below make a case from."""

    device: Any
    layer: Layer
    batch: int
    dtype: str
    operation: Operation

    def __post_init__(self) -> None:
        self.xp, self.on = self.device.xp, self.device.on
        self.options = dict(self.layer.options)
        self.input_shape = (self.batch, *self.layer.shape)

    @property
    def window(self) -> Window2d:
        assert self.layer.window is not None
        return self.layer.window

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.batch, *self.layer.outputs, self.layer.kernels or self.layer.shape[-1])

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.layer.kernels, *self.window.kernel, self.layer.shape[-1])

    @property
    def flops(self) -> int:
        """Of a convolution in any direction, by its definition."""
        return self.batch * self.layer.flops

    def function(self, name: str = "") -> Callable[..., Any]:
        """The host function that launches the kernels."""
        return partial(getattr(host(self.operation.module), name or self.operation.name), self.on)

    def normal(self, *shape: int) -> Array:
        """Random numbers of the row's dtype."""
        drawn = self.device.random.standard_normal(shape, dtype=self.xp.float32)
        return drawn.astype(_dtype(self.dtype), copy=False)

    def classic(self, name: str) -> Callable[..., Any]:
        """im2col and cuBLAS's product: what every faster convolution is measured against."""
        return partial(getattr(host("im2col_conv2d"), name), self.on)

    def case(
        self,
        call: Callable[[str], Any],
        expected: Array | tuple[Array, ...],
        read: tuple[Array, ...],
        flops: int,
        peers: Callable[[Peers], Calls] | None = None,
        classic: Callable[[], Array] | None = None,
        **more: Any,
    ) -> Case:
        """A case of all versions: `call` takes one's name."""
        expected = expected if isinstance(expected, tuple) else (expected,)
        size = read[0].itemsize
        written = sum(y.size * (size if y.dtype.kind == "f" else y.itemsize) for y in expected)
        beside: Calls = {}
        if classic is not None and self.dtype == "float32":
            beside["im2col and cuBLAS", "fp32"] = classic
        if peers is not None and self.device.peers is not None:
            beside |= peers(self.device.peers)
            more.setdefault("arrays", self.device.peers.arrays)
        return Case(
            expected,
            {version: partial(call, version) for version in self.operation.kernels},
            flops,
            sum(x.nbytes for x in read) + written,
            rounding=UNITS[self.dtype],
            peers=beside,
            **more,
        )


def host(module: str) -> Any:
    return import_module(f"minicnn.backend.ladder.{module}")


def _dtype(name: str) -> Any:
    if name != "bfloat16":
        return name
    import ml_dtypes

    return ml_dtypes.bfloat16
