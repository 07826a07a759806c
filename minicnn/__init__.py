"""minicnn."""
from . import ops
from .backend.parallel import get_num_threads, set_num_threads
from .random import manual_seed
from .tensor import Function, Tensor, is_grad_enabled, no_grad, tensor
__version__ = "0.1.0"
