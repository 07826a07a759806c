"""The operations as functions on tensors, under PyTorch's names and with PyTorch's arguments.

Each function checks its arguments, so that every mistake is answered with the function's name, the rule and the values,
and applies one operation of :mod:`minicnn.ops`, whose docstring holds the mathematics and the backward pass.
Images are (N, C, H, W); where PyTorch takes a single image (C, H, W), so do these.
"""

from .activation import log_softmax, relu, sigmoid, softmax, tanh
from .convolution import conv2d, conv_transpose2d, fold, unfold
from .dense import linear
from .loss import cross_entropy, mse_loss, nll_loss
from .normalization import batch_norm, local_response_norm
from .pooling import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d
from .regularization import dropout
from .shape import cat, flatten, pad

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool2d",
    "batch_norm",
    "cat",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "flatten",
    "fold",
    "linear",
    "local_response_norm",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "pad",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
    "unfold",
]
