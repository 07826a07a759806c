"""The frameworks compared, one file each, and what is known of them before they are imported.

A peer's file has a function ``prepare(task, **options)`` that returns a :class:`Runner`, and ``versions()``.  Both are
called in the peer's own process, and only there its framework is imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..task import MODES

__all__ = ["PEERS", "Peer", "Runner"]


class Runner(Protocol):
    """A network that is loaded and ready, with its images."""

    def step(self) -> float | None:
        """Compute the task once, to the end; a training step returns its loss."""
        ...

    def answer(self) -> dict[str, np.ndarray]:
        """Return what is compared: ``scores``, or in training ``loss`` and the gradients of the task's probes.

        Without dropout.  Nothing in it depends on steps made before, for there are none.
        """
        ...


@dataclass(frozen=True)
class Peer:
    """One who takes part.

    Attributes
    ----------
    name : str
    module : str
        The file with ``prepare``.
    options : mapping
        What it is prepared with.
    needs : tuple of str
        The modules that must be installed.
    modes : tuple of str
        What it can do.
    usual : bool
        Whether it takes part without being named.
    """

    name: str
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    modes: tuple[str, ...] = MODES
    usual: bool = True

    def missing(self) -> list[str]:
        """Return which of the modules it needs are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


_HERE = __name__
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("minicnn", f"{_HERE}.own"),
        Peer("minicnn-fused", f"{_HERE}.own", {"fused": True}),
        Peer("pytorch", f"{_HERE}.pytorch", needs=("torch",)),
        Peer("pytorch-channels-last", f"{_HERE}.pytorch", {"channels_last": True}, ("torch",)),
        Peer(
            "pytorch-compile",
            f"{_HERE}.pytorch",
            {"channels_last": True, "compiled": True},
            needs=("torch",),
            usual=False,
        ),
        Peer("onnxruntime", f"{_HERE}.onnx_runtime", needs=("onnxruntime", "onnx"), modes=("inference",)),
        Peer("jax", f"{_HERE}.jax_jit", needs=("jax",)),
    )
}
"""All there are, by name.  Compiling PyTorch's graphs takes minutes a row, so that is done on request."""
