"""PyTorch beside the kernels, on the same arrays: convolutions by cuDNN, in both memory layouts, TF32 on and off.

Each method returns {(name, unit): call} for one operation, and PyTorch's results become our arrays by
:meth:`Peers.arrays`.  Images are views [N, C, H, W] of our channels-last memory, which is PyTorch's
``channels_last``; "NCHW" has copies in the other layout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minicnn.geometry import Window2d

Array = Any
Calls = dict[tuple[str, str], Callable[[], Any]]

UNITS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


class Peers:
    """PyTorch's side of a case.

    Parameters
    ----------
    torch : module
    xp : module
        The array library of the kernels' arrays.
    """

    def __init__(self, torch: Any, xp: Any) -> None:
        self.torch = torch
        self.xp = xp
        self.functional = torch.nn.functional
        torch.backends.cudnn.benchmark = True  # it measures its algorithms, and takes the fastest

    def tensor(self, array: Array) -> Any:
        """The same memory as a tensor; of bfloat16, which not every exchange knows, a copy."""
        if array.dtype.name == "bfloat16":
            return self.torch.from_dlpack(array.astype("float32")).bfloat16()
        return self.torch.from_dlpack(array)

    def images(self, array: Array) -> Any:
        """[N, H, W, C] as PyTorch's channels-last [N, C, H, W]."""
        return self.tensor(array).permute(0, 3, 1, 2)

    def arrays(self, result: Any) -> Any:
        """What a call returned as arrays in float64, or of integers, images with their channels last."""
        if isinstance(result, tuple):
            return tuple(self.arrays(tensor) for tensor in result)
        if not isinstance(result, self.torch.Tensor):  # our own, which is timed beside it
            return result
        tensor = result.detach()
        if tensor.ndim == 4:
            tensor = tensor.permute(0, 2, 3, 1)
        if tensor.is_floating_point():
            tensor = tensor.double()
        return self.xp.from_dlpack(tensor.contiguous())

    def conv2d(self, x: Array, w: Array, window: Window2d) -> Calls:
        return self._convolutions(
            [x, w], lambda x, w: self.functional.conv2d(x, w, None, **_arguments(window))
        )

    def conv2d_backward_data(self, g: Array, w: Array, like: Array, window: Window2d) -> Calls:
        return self._gradients(g, like, w, window, 0)

    def conv2d_backward_weight(self, x: Array, g: Array, like: Array, window: Window2d) -> Calls:
        return self._gradients(g, x, like, window, 1)

    def in_fp32(self, calls: Calls) -> Calls:
        """Those that multiply in float32."""
        return {key: call for key, call in calls.items() if key[1] == "fp32"}

    def _gradients(self, g: Array, x: Array, w: Array, window: Window2d, wanted: int) -> Calls:
        how = _arguments(window)
        mask = [number == wanted for number in range(3)]

        def call(g: Any, x: Any, w: Any) -> Any:
            return self.torch.ops.aten.convolution_backward(
                g, x, w, None, how["stride"], how["padding"], how["dilation"], False, [0, 0], 1, mask
            )[wanted]

        return self._convolutions([g, x, w], call)

    def _convolutions(self, arrays: list[Array], call: Callable[..., Any]) -> Calls:
        """Both layouts of memory; of float32 with TF32 and without."""
        dtype = arrays[0].dtype.name
        units = ("fp32", "tf32") if dtype == "float32" else (UNITS[dtype],)
        layouts = {"PyTorch": [self.images(array) for array in arrays]}
        layouts["PyTorch NCHW"] = [tensor.contiguous() for tensor in layouts["PyTorch"]]
        return {
            (f"{name} {unit}", unit): self._with_tf32(unit == "tf32", call, tensors)
            for unit in units
            for name, tensors in layouts.items()
        }

    def _with_tf32(self, allowed: bool, call: Callable[..., Any], tensors: list[Any]) -> Callable[[], Any]:
        def with_tf32() -> Any:
            self.torch.backends.cudnn.allow_tf32 = allowed
            return call(*tensors)

        return with_tf32

    def max_pool2d(self, window: Window2d) -> Callable[..., Any]:
        """A function of images, as all the following."""
        how = {**_arguments(window), "kernel_size": window.kernel, "ceil_mode": window.ceil_mode}
        return lambda x: self.functional.max_pool2d(x, **how)

    def avg_pool2d(self, window: Window2d) -> Callable[..., Any]:
        how = window.kernel, window.stride, _arguments(window)["padding"]
        return lambda x: self.functional.avg_pool2d(x, *how)

    def local_response_norm(self, **how: Any) -> Callable[..., Any]:
        return lambda x: self.functional.local_response_norm(x, **how)

    def batch_norm(self, eps: float, mean: Any = None, var: Any = None) -> Callable[..., Any]:
        """By the batch's own statistics, if none are given."""
        training = mean is None
        return lambda x, w, b: self.functional.batch_norm(x, mean, var, w, b, training=training, eps=eps)

    def dropout(self, p: float) -> Callable[..., Any]:
        return lambda x: self.functional.dropout(x, p, training=True)

    def cross_entropy(self, target: Any) -> Callable[..., Any]:
        return lambda z: self.functional.cross_entropy(z, target, reduction="none")

    def forward(self, function: Callable[..., Any], *tensors: Any) -> Calls:
        return {("PyTorch", "fp32"): lambda: function(*tensors)}

    def backward(self, function: Callable[..., Any], g: Any, *tensors: Any) -> Calls:
        """The gradients of all the tensors, for the gradient g of the function's result."""
        inputs = [tensor.detach().requires_grad_() for tensor in tensors]
        y = function(*inputs)
        return {("PyTorch", "fp32"): lambda: self.torch.autograd.grad(y, inputs, g, retain_graph=True)}

    def both(self, function: Callable[..., Any], tensor: Any) -> Calls:
        """The result, and the gradient for ones."""
        leaf = tensor.detach().requires_grad_()

        def call() -> tuple[Any, Any]:
            y = function(leaf)
            return y, self.torch.autograd.grad(y, leaf, self.torch.ones_like(y))[0]

        return {("PyTorch", "fp32"): call}

    def sgd(self, p: Array, g: Array, v: Array, rate: float, momentum: float, decay: float) -> Calls:
        """One fused step, in place as ours."""
        parameter, velocity = self.torch.nn.Parameter(self.tensor(p)), self.tensor(v)
        parameter.grad = self.tensor(g)
        step = self.torch.optim.SGD(
            [parameter], lr=rate, momentum=momentum, weight_decay=decay, fused=parameter.is_cuda
        )
        step.state[parameter]["momentum_buffer"] = velocity

        def call() -> tuple[Any, Any]:
            step.step()
            return parameter, velocity

        return {("PyTorch", "fp32"): call}


def _arguments(window: Window2d) -> dict[str, tuple[int, int]]:
    top, bottom, left, right = window.padding
    assert (top, left) == (bottom, right)
    return {"stride": window.stride, "padding": (top, left), "dilation": window.dilation}
