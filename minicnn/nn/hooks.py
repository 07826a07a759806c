"""Functions that look on, or step in, when a module is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Hooks", "RemovableHandle"]

Hooks = dict[object, Callable[..., Any]]


class RemovableHandle:
    """What registering a hook returns: the way to remove it again.

    It may also be used in a ``with`` block, at whose end the hook is removed.

    Examples
    --------
    >>> from minicnn import nn, tensor
    >>> layer = nn.ReLU()
    >>> with layer.register_forward_hook(lambda module, args, output: print(output.shape)):
    ...     _ = layer(tensor([1.0, -1.0]))
    (2,)
    >>> _ = layer(tensor([1.0, -1.0]))
    """

    def __init__(self, hooks: Hooks, hook: Callable[..., Any]) -> None:
        self._hooks, self._key = hooks, object()
        hooks[self._key] = hook

    def remove(self) -> None:
        """Remove the hook; once is enough."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()
