"""Loading a state dict: everything is checked before anything is changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from .. import backend
from ..backend.parallel import parallel_for
from ..tensor import Tensor

__all__ = ["IncompatibleKeys", "load"]

_PIECE = 1 << 18  # elements that one thread copies at a time
_LONGEST = 100  # characters of a name, which somebody else's file may have chosen
_LISTED = 5  # names of each sort that an error spells out; another network's checkpoint may have hundreds


class IncompatibleKeys(NamedTuple):
    """The names that had no counterpart when a state dict was loaded."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(
    model: str, targets: Mapping[str, Tensor], optional: Collection[str], state: Any, strict: bool
) -> IncompatibleKeys:
    """Copy the arrays of `state` into the tensors of the same names, or raise and leave all as they were.

    The tensors keep their arrays, and with them dtype, device and memory layout.

    Parameters
    ----------
    model : str
        Named in the errors.
    targets : mapping of names to Tensors
    optional : collection of str
        Names that `state` may lack.
    state : mapping of names to arrays or Tensors
    strict : bool
        Whether missing and unexpected names are errors.  A wrong shape or dtype always is.

    Raises
    ------
    TypeError
        If `state` is no mapping.
    ValueError
        If it does not fit; one error lists every sort of fault.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"load_state_dict: state must map names to arrays, got {type(state).__qualname__}")
    missing = [name for name in targets if name not in state and name not in optional]
    unexpected = [name for name in state if name not in targets]
    arrays = {name: _array(state[name]) for name in targets if name in state}
    unfit = [name + fault for name, array in arrays.items() if (fault := _fault(array, targets[name].data))]
    sorts = {"missing": missing, "unexpected": unexpected} if strict else {}
    faults = [f"{sort}: {_some(names)}" for sort, names in {**sorts, "unfit": unfit}.items() if names]
    if faults:
        raise ValueError(f"load_state_dict: the state does not fit {model}; {'; '.join(faults)}")
    # Converting may yet fail, where warnings are errors and a value is beyond float32; copying may not.
    converted = {name: _converted(array, targets[name]) for name, array in arrays.items()}
    _copy([(targets[name].data, array) for name, array in converted.items()])
    return IncompatibleKeys(missing, unexpected)


def _copy(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Copy arrays to others, in pieces that the threads share.

    Kernels change from the row-major order of files to channels-last memory on the way.  An array that was mapped from
    a file goes from there to its place, and through no memory in between.
    """
    pieces = [piece for target, array in pairs for piece in _pieces(target, array)]

    def copy(i: int) -> None:
        target, array = pieces[i]
        with backend.running("load_state_dict", target):
            backend.of(target).copyto(target, array)

    if all(backend.of(target) is backend.cpu for target, _ in pairs):
        parallel_for(len(pieces), copy)
    else:  # CuPy's current stream is a thread's own
        for i in range(len(pieces)):
            copy(i)


def _pieces(target: Any, array: Any) -> list[tuple[Any, Any]]:
    if target.size <= _PIECE:
        return [(target, array)]
    rows = max(_PIECE * len(target) // target.size, 1)
    return [(target[i : i + rows], array[i : i + rows]) for i in range(0, len(target), rows)]


def _array(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value


def _fault(array: Any, target: Any) -> str:
    """Say what keeps `array` from filling `target`; nothing if it may."""
    try:
        be = backend.of(array)
    except TypeError:
        return f" is no array but of type {type(array).__qualname__}"
    if backend.of(target) is backend.meta is not be:
        return " is on the meta device, where there is no memory to load into"
    if array.shape != target.shape:
        return f" has shape {array.shape}, must have {target.shape}"
    if array.dtype != target.dtype and not (be.is_float(array.dtype) and be.is_float(target.dtype)):
        return f" has dtype {array.dtype}, must have {target.dtype}"
    return ""


def _converted(array: Any, target: Tensor) -> Any:
    with backend.on(target.device):
        return backend.to_device(array, target.device).astype(target.dtype, copy=False)


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(str(name)[:_LONGEST] for name in names[:_LISTED]) + (
        f" and {rest} more" if rest > 0 else ""
    )
