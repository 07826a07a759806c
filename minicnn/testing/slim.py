"""Published networks made narrow, so that a test can afford to run them.

A network's code is tested by running that code: all its layers, its branches, its heads, on images of its own
size.  What makes it expensive is the number of channels, and that appears nowhere but in its convolutions,
batch norms and dense layers.  So these are narrowed, and everything else stays as it is.

How many channels each layer gets to see then, nobody has to know: the network runs once, and every layer
adapts to what arrives at it.  On the meta device both the big network and this run cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

from .. import backend, nn
from ..nn.check import int_of_at_least
from ..nn.parameter import new_parameter
from ..tensor import Function, Tensor

__all__ = ["slim"]

_IMAGES = 2  # batch norm needs more than one value a channel, and the last maps may be of one pixel
_NARROWED = nn.Conv2d | nn.Linear | nn.BatchNorm2d

Network = TypeVar("Network", bound=nn.Module)


def slim(
    model: Network,
    divisor: int,
    *,
    num_classes: int | None = None,
    device: str = "cpu",
    dtype: Any = None,
    generator: Any = None,
) -> Network:
    """Divide a network's numbers of channels, and draw new weights.

    Output channels of convolutions and output features of dense layers become ``old // divisor``, at least 1
    and divisible by the groups.  The layers that the classes come from keep theirs: those from which no other
    one lies on the way to an output, auxiliary heads included.

    Weights are He-normal, which keeps the signal alive through any number of ReLUs, those of the heads smaller,
    lest a class be certain and all gradients 0; biases, and what batch
    norm multiplies with and adds, are drawn around their usual 0 and 1, for at these a wrong gradient may look
    right.

    Parameters
    ----------
    model : Module with an ``input_shape``
        Changed, and returned in training mode.  Best built within ``minicnn.device("meta")``: anywhere else,
        running it at its full width takes time.
    divisor : int
        1 keeps the width, and gives a network on the meta device weights.
    num_classes : int, optional
        Scores of each head.  Default: as many as there are.
    device, dtype : optional
        Of the new parameters; default ``"cpu"`` and float32.
    generator : numpy.random.Generator, optional
        Default: :func:`minicnn.random.default_generator`.

    Raises
    ------
    TypeError, ValueError
        If `divisor` or `num_classes` is no int of at least 1; if there are parameters in a layer of another
        kind, which could not follow; or if a layer is never called.
    ValueError
        If what rounding has left does not fit: the groups of the convolution it arrives at, or what it is
        added to.  (Equal widths stay equal.  A concatenation keeps its sum if `divisor` divides its parts.)
        The model is of no use then.

    Examples
    --------
    >>> from minicnn import models
    >>> model = slim(models.lenet5(), 2)
    >>> model.c3, model.f6, model.output
    (Conv2d(3, 8, kernel_size=(5, 5), stride=(1, 1)),
     Linear(in_features=60, out_features=42, bias=True),
     Linear(in_features=42, out_features=10, bias=True))
    """
    int_of_at_least(1, "slim", "divisor", divisor)
    if num_classes is not None:
        int_of_at_least(1, "slim", "num_classes", num_classes)
    layers = dict(_layers(model))
    heads = _heads(model.train(), layers)
    for layer in layers.values():
        _narrow(layer, divisor, num_classes, layer in heads)
    _fit(model, layers)
    for layer in layers.values():
        _rebuild(layer, device, dtype)
        _draw(layer, layer in heads, generator)
    if hasattr(model, "config"):
        model.config = {}  # type: ignore[assignment]  (get_model would build the wide one)
    return model


def _layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the layers to narrow, by name; refuse a model with parameters or buffers anywhere else."""
    for name, module in model.named_modules():
        if isinstance(module, _NARROWED):
            yield name, module
        elif [*module.parameters(recurse=False), *(t for _, t in module.named_buffers(recurse=False))]:
            raise ValueError(
                f"slim: only Conv2d, Linear and BatchNorm2d can be made narrow, {type(model).__name__} has a "
                f"{type(module).__name__} ({name or 'itself'}) with parameters or buffers of its own"
            )


def _heads(model: nn.Module, layers: dict[str, Any]) -> set[Any]:
    """Run the network and return the layers that come last on a way to an output."""
    makers: dict[Function, Any] = {}
    called: set[Any] = set()

    def note(layer: Any, args: tuple[Any, ...], output: Tensor) -> None:
        called.add(layer)
        if output.creator is not None and not isinstance(layer, nn.BatchNorm2d):
            makers[output.creator] = layer

    with ExitStack() as hooks:
        for layer in layers.values():
            hooks.enter_context(layer.register_forward_hook(note))
        outputs = _run(model)
    for name, layer in layers.items():
        if layer not in called:
            raise ValueError(f"slim: {type(model).__name__} never calls {name}, so its width cannot be known")
    return _last(outputs, makers)


def _last(outputs: list[Tensor], makers: dict[Function, Any]) -> set[Any]:
    """Walk back from the outputs, each way as far as the first layer."""
    found, seen = set(), set()
    waiting: list[Any] = [y.creator for y in outputs]
    while waiting:
        function = waiting.pop()
        if function in makers:
            found.add(makers[function])
        elif isinstance(function, Function) and function not in seen:
            seen.add(function)
            waiting += function.edges or ()
    return found


def _narrow(layer: Any, divisor: int, num_classes: int | None, is_head: bool) -> None:
    """Set the number of channels that leave the layer; a batch norm lets pass what comes."""
    if isinstance(layer, nn.BatchNorm2d):
        return
    name = "out_channels" if isinstance(layer, nn.Conv2d) else "out_features"
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    narrow = max(1, getattr(layer, name) // divisor // groups) * groups
    setattr(layer, name, (num_classes or getattr(layer, name)) if is_head else narrow)


def _fit(model: nn.Module, layers: dict[str, Any]) -> None:
    """Run the network, each layer taking as many channels as it is given."""
    names = {layer: name for name, layer in layers.items()}
    waiting = set(names)

    def adapt(layer: Any, args: tuple[Any, ...]) -> None:
        if layer in waiting:
            waiting.remove(layer)
            _take(layer, names[layer], args[0])
            _rebuild(layer, args[0].device, args[0].dtype)

    with ExitStack() as hooks:
        for layer in layers.values():
            hooks.enter_context(layer.register_forward_pre_hook(adapt))
        _run(model)


def _take(layer: Any, name: str, input: Tensor) -> None:
    """Set the number of channels that reach the layer."""
    if isinstance(layer, nn.Linear):
        layer.in_features = input.shape[-1]
    elif isinstance(layer, nn.BatchNorm2d):
        layer.num_features = input.shape[1]
    else:
        layer.in_channels = input.shape[1]
        if layer.in_channels % layer.groups:
            raise ValueError(
                f"slim: what reaches {name} must be divisible by its groups={layer.groups}, divided it is "
                f"{layer.in_channels} channels; choose a divisor that leaves no remainder"
            )


def _run(model: Any) -> list[Tensor]:
    """Return the outputs for a few images of zeros, on the parameters' device."""
    first = next(model.parameters()).data
    with backend.on(backend.device_of(first)) as be:
        images = Tensor(be.zeros((_IMAGES, *model.input_shape), first.dtype))
    output = model(images)
    outputs = output if isinstance(output, tuple | list) else [output]
    return [y for y in outputs if isinstance(y, Tensor)]


def _rebuild(layer: Any, device: str, dtype: Any) -> None:
    """Give the layer parameters and buffers, all 0, of the shapes that its numbers of channels ask for."""
    for name, shape in _shapes(layer).items():
        if getattr(layer, name) is not None:
            new = nn.init.zeros_(new_parameter(shape, device, dtype))
            setattr(layer, name, new if isinstance(getattr(layer, name), nn.Parameter) else new.detach())
    if getattr(layer, "num_batches_tracked", None) is not None:
        with backend.on(device) as be:
            layer.num_batches_tracked = Tensor(be.zeros((), be.int64))


def _shapes(layer: Any) -> dict[str, tuple[int, ...]]:
    if isinstance(layer, nn.Conv2d):
        weight = layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size
        return {"weight": weight, "bias": weight[:1]}
    if isinstance(layer, nn.Linear):
        return {"weight": (layer.out_features, layer.in_features), "bias": (layer.out_features,)}
    return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (layer.num_features,))


def _draw(layer: Any, is_head: bool, generator: Any) -> None:
    """Draw weights that no wrong gradient looks right at."""
    if isinstance(layer, nn.BatchNorm2d):
        layer.reset_running_stats()
        if layer.weight is not None:
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator)
    else:
        std = (0.5 if is_head else math.sqrt(2)) / math.sqrt(layer.weight[0].size)
        nn.init.normal_(layer.weight, 0.0, std, generator)
    if layer.bias is not None:
        nn.init.normal_(layer.bias, 0.0, 0.1, generator)
