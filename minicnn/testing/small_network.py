"""A small network that is its own source: what is printed is what is computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import functional as F
from ..tensor import Tensor
from .case import literal

__all__ = ["SmallNetwork"]


@dataclass(frozen=True, eq=False, repr=False)
class SmallNetwork:
    r"""A function of a few tensors, given as the Python that defines it.

    Its repr is a script that defines ``network`` and ``inputs`` again.

    Parameters
    ----------
    source : str
        Defines ``network``, with ``minicnn.functional`` as ``F``.
    inputs : tuple of arrays
        Images and parameters, the arguments to call it with.

    Examples
    --------
    >>> from minicnn import Tensor
    >>> twice = SmallNetwork("def network(x0):\n    return x0 + x0\n", (np.array([1.0, 2.0]),))
    >>> twice(*map(Tensor, twice.inputs))
    tensor([2., 4.])
    >>> twice
    import numpy as np
    from minicnn import functional as F
    <BLANKLINE>
    def network(x0):
        return x0 + x0
    <BLANKLINE>
    inputs = (np.array([1.0, 2.0]),)
    """

    source: str
    inputs: tuple[np.ndarray, ...]
    _names: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        names: dict[str, Any] = {"F": F}
        exec(compile(self.source, "<small network>", "exec"), names)
        object.__setattr__(self, "_names", names)

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Compute the network."""
        return self._names["network"](*tensors)

    def __repr__(self) -> str:
        inputs = f"inputs = {literal(self.inputs)}"
        imports = ["import numpy as np", "from minicnn import functional as F"]
        if "lay_out(" in inputs:
            imports.append("from minicnn.testing import lay_out")
        return "\n".join([*imports, "", self.source, inputs])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Let Hypothesis and IPython, which know dataclasses, print the script all the same."""
        printer.text(f"\n{self!r}\n")
