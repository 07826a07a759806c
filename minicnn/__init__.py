"""minicnn: the classic convolutional networks, built from pieces a person can read.

The public names, and nothing else.  Start with :mod:`minicnn.models`, follow a network down to :mod:`minicnn.ops` for
the mathematics of one operation, to :mod:`minicnn.conv` for the algorithms and to :mod:`minicnn.tensor` for the engine.
"""

from . import blas_kernel  # noqa: F401  (first of all: it must run before NumPy is loaded)

# isort: split
from . import conv, data, functional, models, nn, optim, testing, training, weights
from .autocast import autocast
from .backend import device
from .backend.parallel import get_num_threads, set_num_threads
from .config import show_config
from .debug import AnomalyError, detect_anomaly, poison_workspace
from .dlpack import from_dlpack
from .grad_scaler import GradScaler
from .profiler import profile
from .random import manual_seed
from .tensor import Function, Tensor, enable_grad, is_grad_enabled, no_grad, tensor
from .weights import load, save

__version__ = "0.1.0"

__all__ = [
    "AnomalyError",
    "Function",
    "GradScaler",
    "Tensor",
    "autocast",
    "conv",
    "data",
    "detect_anomaly",
    "device",
    "enable_grad",
    "from_dlpack",
    "functional",
    "get_num_threads",
    "is_grad_enabled",
    "load",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "optim",
    "poison_workspace",
    "profile",
    "save",
    "set_num_threads",
    "show_config",
    "tensor",
    "testing",
    "training",
    "weights",
]
