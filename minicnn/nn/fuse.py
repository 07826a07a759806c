"""What follows a convolution made part of it, for inference: one layer instead of two or three.

A ReLU is taken while the convolution's result is still in the cache.  Batch normalisation costs nothing at all: in
evaluation mode a batch normalisation is a line, y = γ (x − μ)/√(σ² + ε) + β with fixed numbers for each channel,
and the convolution before it is linear too.  So both together are a convolution:

    w′ = w · γ/√(σ² + ε)        b′ = β + (b − μ) · γ/√(σ² + ε)

What follows which convolution is not read off names or the order of definition but off a run of the network, on arrays
without values: it has to take the convolution's output, and nothing else may.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from .. import backend
from ..tensor import Function, Tensor, enable_grad
from .activation import ReLU
from .conv import Conv2d
from .module import Module
from .normalization import BatchNorm2d
from .parameter import Parameter
from .shape import Identity

__all__ = ["fuse"]

Network = TypeVar("Network", bound=Module)


def fuse(model: Network, input_shape: Sequence[int] | None = None) -> Network:
    """Return a copy of a network for inference, its batch normalisations and ReLUs made part of the convolutions.

    The copy is in evaluation mode and gives the same output up to rounding.  A normalisation or ReLU that does not
    follow a convolution directly, or a normalisation without running statistics, stays as it is; so does a ReLU that is
    no layer but a function called.  Hooks are left behind: what they were put on may be gone.

    Parameters
    ----------
    model : Module
        Left as it is.
    input_shape : sequence of int, optional
        Of one input, (C, H, W).  Default: the model's own ``input_shape``.

    Raises
    ------
    ValueError
        If the model states no input shape and none is given.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch Normalization", ICML 2015, section 3.1: at inference the normalisation is a
    linear transform.

    Examples
    --------
    >>> from minicnn import nn
    >>> fuse(nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()), (3, 32, 32))
    Sequential(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), relu=True)
      (1): Identity()
      (2): Identity()
    )
    """
    shape = getattr(model, "input_shape", None) if input_shape is None else input_shape
    if shape is None:
        raise ValueError(
            f"fuse: {type(model).__name__} states no input_shape; pass one as input_shape=(C, H, W)"
        )
    fused = copy.deepcopy(model).eval()
    for module in fused.modules():
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
    followers = _followers(fused, tuple(shape))
    for conv, layers in followers.items():
        for layer in layers:
            if isinstance(layer, BatchNorm2d):
                _fold(conv, layer)
            else:
                conv.relu = True
    _replace(fused, {layer for layers in followers.values() for layer in layers})
    folded = any(isinstance(layer, BatchNorm2d) for layers in followers.values() for layer in layers)
    if folded and hasattr(fused, "config"):
        fused.config = {}  # type: ignore[assignment]  (get_model would build the one that is not fused)
    return fused


def _followers(model: Module, shape: tuple[int, ...]) -> dict[Conv2d, list[Module]]:
    """Run the network, and return for each convolution the normalisation and the ReLU that take its output alone."""
    run = _Run()
    with _without_values(model), ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, Conv2d | BatchNorm2d | ReLU):
                hooks.enter_context(module.register_forward_hook(run.note))
        users = _users(model(_image(model, shape)))
    return {
        conv: list(run.followers(conv, users))
        for conv in run.made_by
        if isinstance(conv, Conv2d) and run.calls[conv] == 1 and not conv.relu
    }


def _image(model: Module, shape: tuple[int, ...]) -> Tensor:
    """Return one image of the parameters' dtype whose way through the network is recorded."""
    dtype = next((parameter.dtype for parameter in model.parameters()), backend.meta.float32)
    return Tensor(backend.meta.empty((1, *shape), dtype), requires_grad=True)


class _Run:
    """What a run of the network shows: which Function made each layer's output, and which layer took it."""

    def __init__(self) -> None:
        self.made_by: dict[Module, Function] = {}
        self.taken_by: dict[Function, Module] = {}
        self.calls: dict[Module, int] = {}

    def note(self, module: Module, args: tuple[Any, ...], output: Tensor) -> None:
        self.calls[module] = self.calls.get(module, 0) + 1
        if output.creator is not None:
            self.made_by[module] = output.creator
        if args[0].creator is not None:
            self.taken_by[args[0].creator] = module

    def followers(self, conv: Conv2d, users: dict[Function, int]) -> Iterator[Module]:
        """Yield the normalisation and the ReLU after a convolution, as far as nothing else takes what is between."""
        made = self.made_by[conv]
        for kind in (BatchNorm2d, ReLU):
            layer = self.taken_by.get(made)
            if (
                users.get(made) == 1
                and isinstance(layer, kind)
                and self.calls[layer] == 1
                and _is_fixed(layer)
            ):
                yield layer
                made = self.made_by[layer]


def _is_fixed(layer: Module) -> bool:
    """Whether a layer does in evaluation the same to every batch."""
    return not isinstance(layer, BatchNorm2d) or layer.running_mean is not None


def _users(output: Any) -> dict[Function, int]:
    """Count for each Function behind an output how many take its result, the output itself among them."""
    outputs = output if isinstance(output, tuple | list) else [output]
    users: dict[Function, int] = {}
    waiting: list[Any] = [y.creator for y in outputs if isinstance(y, Tensor)]
    while waiting:
        function = waiting.pop()
        if isinstance(function, Function):
            users[function] = users.get(function, 0) + 1
            if users[function] == 1:
                waiting += function.edges or ()
    return users


@contextmanager
def _without_values(model: Module) -> Iterator[None]:
    """Let all parameters and buffers be shapes only inside the block."""
    kept = [(tensor, tensor.data) for tensor in [*model.parameters(), *model.buffers()]]
    try:
        for tensor, data in kept:
            tensor.data = backend.meta.asarray(data)
        with backend.device("meta"), enable_grad():
            yield
    finally:
        for tensor, data in kept:
            tensor.data = data


def _fold(conv: Conv2d, norm: BatchNorm2d) -> None:
    be = backend.of(conv.weight.data)
    mean, var = norm.running_mean.data, norm.running_var.data  # type: ignore[union-attr]  (there are both or none)
    scale = 1 / be.sqrt(var + norm.eps)
    shift = -mean if conv.bias is None else conv.bias.data - mean
    if norm.weight is not None and norm.bias is not None:
        scale *= norm.weight.data
        shift = shift * scale + norm.bias.data
    else:
        shift = shift * scale
    learned = conv.weight.requires_grad
    conv.weight = Parameter(conv.weight.data * scale[:, None, None, None], learned)
    conv.bias = Parameter(shift.astype(conv.weight.dtype, copy=False), learned)


def _replace(model: Module, gone: set[Module]) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if child in gone:
                module.add_module(name, Identity())
