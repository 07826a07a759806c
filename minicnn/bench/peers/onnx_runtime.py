"""ONNX Runtime: the network as an ONNX model, fused and laid out as that library likes it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from ..network import IMAGE, Network, Operation, exact_padding
from ..task import Task

__all__ = ["prepare", "versions"]

_OPSET, _IR_VERSION = 17, 8
_NAMES = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "add": "Add",
    "batch_norm": "BatchNormalization",
}


def versions() -> dict[str, str]:
    """Return what this peer consists of."""
    return {name: import_module(name).__version__ for name in ("onnxruntime", "onnx")}


def prepare(task: Task) -> _Inference:
    """Load the network, with all of the library's optimisations."""
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = task.threads, 1
    options.log_severity_level = 3
    # Its threads wait in a loop for the next operation, and go on with that when there is none.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    model = _model(task.network(), task.weights(), task.batch)
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return _Inference(session, task.images())


class _Inference:
    def __init__(self, session: Any, images: np.ndarray) -> None:
        self.session, self.images = session, images

    def step(self) -> None:
        self.session.run(None, {IMAGE: self.images})

    def answer(self) -> dict[str, np.ndarray]:
        return {"scores": self.session.run(None, {IMAGE: self.images})[0]}


def _model(network: Network, arrays: dict[str, np.ndarray], batch: int) -> Any:
    onnx = import_module("onnx")
    helper, from_array = onnx.helper, onnx.numpy_helper.from_array
    shapes = network.shapes()
    nodes, used = [], {}
    for op in network.operations:
        nodes.append(_node(op, shapes[op.inputs[0]]))
        used |= {name: arrays[name] for name in op.inputs if name in arrays}
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (batch, *shapes[name]))
        for name in (IMAGE, network.outputs[0])
    ]
    initial = [from_array(array, name) for name, array in used.items()]
    graph = helper.make_graph(nodes, "network", values[:1], values[1:], initial)
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


def _node(op: Operation, input_shape: tuple[int, ...]) -> Any:
    """Return the node for an operation."""
    make, inputs, outputs = import_module("onnx").helper.make_node, list(op.inputs), [op.output]
    options = op.options
    match op.kind:
        case "conv2d":
            strides = {"strides": options["stride"], "dilations": options["dilation"]}
            pads = _pads(options["padding"])
            return make("Conv", inputs, outputs, pads=pads, group=options["groups"], **strides)
        case "linear":
            return make("Gemm", inputs, outputs, transB=1)
        case "max_pool2d":
            window = {"kernel_shape": options["kernel_size"], "strides": options["stride"]}
            pads = _pads(exact_padding(op, input_shape))
            return make("MaxPool", inputs, outputs, pads=pads, dilations=options["dilation"], **window)
        case "avg_pool2d":
            window = {"kernel_shape": options["kernel_size"], "strides": options["stride"]}
            pads, counted = _pads(exact_padding(op, input_shape)), int(options["count_include_pad"])
            return make("AveragePool", inputs, outputs, pads=pads, count_include_pad=counted, **window)
        case "adaptive_avg_pool2d":
            return _adaptive(op, input_shape)
        case "local_response_norm":
            size, alpha, beta, bias = (options[name] for name in ("size", "alpha", "beta", "k"))
            return make("LRN", inputs, outputs, size=size, alpha=alpha, beta=beta, bias=bias)
        case "cat":
            return make("Concat", inputs, outputs, axis=1)
        case "flatten":
            return make("Flatten", inputs, outputs, axis=1)
        case "batch_norm":
            return make(_NAMES[op.kind], inputs, outputs, epsilon=options["eps"])
    return make(_NAMES[op.kind], inputs, outputs)


def _pads(padding: tuple[int, int, int, int]) -> list[int]:
    """Turn (top, bottom, left, right) into ONNX's order."""
    top, bottom, left, right = padding
    return [top, left, bottom, right]


def _adaptive(op: Operation, input_shape: tuple[int, ...]) -> Any:
    """ONNX has no adaptive pooling: an ordinary one where all cells are alike, as they are in these networks."""
    make, (height, width), (p, q) = import_module("onnx").helper.make_node, input_shape[1:], op.shape[1:]
    if height % p or width % q:
        raise ValueError(
            f"ONNX has no average of {height}×{width} pixels over {p}×{q} cells that are not alike"
        )
    kernel = [height // p, width // q]
    return make("AveragePool", [*op.inputs], [op.output], kernel_shape=kernel, strides=kernel)
