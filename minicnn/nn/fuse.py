"""What follows a layer made part of it: one layer instead of two or three.

A ReLU is taken while the result of the convolution or the batch normalisation before it is still in the cache, for
inference and for training alike.  For inference a batch normalisation costs nothing at all: in evaluation mode it is a
line, y = γ (x − μ)/√(σ² + ε) + β with fixed numbers for each channel, and the convolution before it is linear too.  So
both together are a convolution:

    w′ = w · γ/√(σ² + ε)        b′ = β + (b − μ) · γ/√(σ² + ε)

What follows which layer is not read off names or the order of definition but off a run of the network, on arrays
without values: it has to take the layer's output, and nothing else may.
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


def fuse(model: Network, input_shape: Sequence[int] | None = None, *, training: bool = False) -> Network:
    """Return a faster copy of a network, its ReLUs and for inference its batch normalisations part of other layers.

    A copy for inference is in evaluation mode, and gives the same output up to rounding.  A normalisation becomes part
    of the convolution that it follows directly, unless it has no running statistics.

    A copy for training is in training mode, and shares parameters and buffers with the network: whichever is trained,
    both are, and their state dicts are one.  Outputs and gradients are the same up to rounding.

    In both, a ReLU becomes part of the convolution or normalisation that it follows directly.  One that is no layer but
    a function called stays as it is.  Hooks are left behind: what they were put on may be gone.

    Parameters
    ----------
    model : Module
        Left as it is.
    input_shape : sequence of int, optional
        Of one input, (C, H, W).  Default: the model's own ``input_shape``.
    training : bool
        What the copy is for.

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
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    >>> fuse(net, (3, 32, 32))
    Sequential(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), relu=True)
      (1): Identity()
      (2): Identity()
    )
    >>> faster = fuse(net, (3, 32, 32), training=True)
    >>> faster[1].relu, faster[2], faster[1].weight is net[1].weight
    (True, Identity(), True)
    """
    shape = getattr(model, "input_shape", None) if input_shape is None else input_shape
    if shape is None:
        raise ValueError(
            f"fuse: {type(model).__name__} states no input_shape; pass one as input_shape=(C, H, W)"
        )
    shared = [*model.parameters(), *model.buffers()] if training else []
    fused = copy.deepcopy(model, {id(tensor): tensor for tensor in shared}).train(training)
    for module in fused.modules():
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
    followers = _followers(fused, tuple(shape))
    for layer, taken in followers.items():
        for follower in taken:
            if isinstance(follower, BatchNorm2d):
                _fold(layer, follower)
            layer.relu = isinstance(follower, ReLU) or follower.relu
    gone = {follower for taken in followers.values() for follower in taken}
    _replace(fused, gone)
    if any(isinstance(layer, BatchNorm2d) for layer in gone) and hasattr(fused, "config"):
        fused.config = {}  # type: ignore[assignment]  (get_model would build the one that is not fused)
    return fused


def _followers(model: Module, shape: tuple[int, ...]) -> dict[Any, list[Any]]:
    """Run the network, and return for each convolution and normalisation the layers that can be made part of it."""
    run = _Run()
    with _without_values(model), ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, Conv2d | BatchNorm2d | ReLU):
                hooks.enter_context(module.register_forward_hook(run.note))
        users = _users(model(_images(model, shape)))
    found: dict[Any, list[Any]] = {}
    for layer in run.made_by:  # in the order in which they ran: a convolution before its normalisation
        gone = any(layer in taken for taken in found.values())
        if isinstance(layer, Conv2d | BatchNorm2d) and run.calls[layer] == 1 and not layer.relu and not gone:
            found[layer] = list(run.followers(layer, users))
    return found


def _images(model: Module, shape: tuple[int, ...]) -> Tensor:
    """Return two images, for a batch has statistics, of the parameters' dtype whose way is recorded."""
    dtype = next((parameter.dtype for parameter in model.parameters()), backend.meta.float32)
    return Tensor(backend.meta.empty((2, *shape), dtype), requires_grad=True)


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

    def followers(self, layer: Module, users: dict[Function, int]) -> Iterator[Module]:
        """Yield the normalisation and the ReLU after a layer, as far as nothing else takes what is between."""
        made = self.made_by[layer]
        for kind in (BatchNorm2d, ReLU):
            follower = self.taken_by.get(made)
            if (
                isinstance(follower, kind)
                and users.get(made) == self.calls[follower] == 1
                and (kind is ReLU or _can_fold(layer, follower))
            ):
                yield follower
                made = self.made_by[follower]


def _can_fold(layer: Module, norm: Any) -> bool:
    """Whether `norm` can become part of the layer before it: if it does the same to every batch."""
    return isinstance(layer, Conv2d) and not norm.training and norm.running_mean is not None


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
        for tensor, data in kept:  # of the integers, numbers of batches, a copy: they are counted with
            tensor.data = backend.meta.asarray(data) if backend.of(data).is_float(data.dtype) else data.copy()
        with backend.device("meta"), enable_grad():
            yield
    finally:
        for tensor, data in kept:
            tensor.data = data


def _fold(conv: Conv2d, norm: BatchNorm2d) -> None:
    with backend.on(conv.weight.device) as be:
        weight, bias = _folded(be, conv, norm)
    learned = conv.weight.requires_grad
    conv.weight, conv.bias = Parameter(weight, learned), Parameter(bias, learned)


def _folded(be: Any, conv: Conv2d, norm: BatchNorm2d) -> tuple[Any, Any]:
    """Return the weight and the bias of a convolution that normalises too."""
    mean, var = norm.running_mean.data, norm.running_var.data  # type: ignore[union-attr]  (there are both or none)
    scale = 1 / be.sqrt(var + norm.eps)
    shift = -mean if conv.bias is None else conv.bias.data - mean
    if norm.weight is not None and norm.bias is not None:
        scale *= norm.weight.data
        shift = shift * scale + norm.bias.data
    else:
        shift = shift * scale
    weight = conv.weight.data
    weight = be.multiply(weight, scale[:, None, None, None], out=be.empty_like(weight))
    return weight, shift.astype(weight.dtype, copy=False)


def _replace(model: Module, gone: set[Module]) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if child in gone:
                module.add_module(name, Identity())
