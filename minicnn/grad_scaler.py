"""Scaling a loss, so that gradients in half precision are neither lost nor infinite.

The smallest float16 above 0 is 6·10⁻⁸, and the gradient of a mean over many samples is often smaller.  So the loss is
multiplied by a large number s before backward: by the chain rule all gradients are s times as large, and the
parameters' gradients, which are float32, are divided by s again before the optimiser sees them.

s is found by trying.  If a gradient comes out infinite or NaN, s was too large: the step is left out, and s made
smaller.  After a long row of steps without that, s is made larger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from . import backend
from .optim import Optimizer
from .optim.check import number, whole
from .tensor import Tensor

__all__ = ["GradScaler"]

Array = Any

_LARGEST, _SMALLEST = 2.0**126, 2.0**-126  # scales that float32 holds with all digits, and their inverses too


class GradScaler:
    """Multiply losses by a scale, take it out of the gradients, and look for a better one as the training goes on.

    Parameters
    ----------
    init_scale : float above 0
        s at first.  A power of 2, as the factors are by default, rounds nothing.
    growth_factor : float above 1
        What s is multiplied by after `growth_interval` steps in a row without an infinite or NaN gradient.
    backoff_factor : float between 0 and 1
        What s is multiplied by after a step with one.
    growth_interval : int of at least 1
    enabled : bool
        False: losses and gradients are left alone, and :meth:`step` is the optimiser's.

    Raises
    ------
    TypeError, ValueError
        If a number is none, or out of its range.

    Notes
    -----
    The names, the rule and the state dict are those of PyTorch's ``torch.amp.GradScaler``.  One thing is added: a scale
    that has become smaller than any that could help is an error, for the loss itself is then infinite or NaN.

    Whether a step is left out, the host decides, so every step waits once until the GPU has computed the gradients:
    one number for all of them comes back.  It works on the CPU too, and without :class:`~minicnn.autocast`.

    References
    ----------
    P. Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2.

    Examples
    --------
    >>> import minicnn
    >>> w = minicnn.tensor([1.0], requires_grad=True)
    >>> optimizer, scaler = minicnn.optim.SGD([w], lr=0.5), minicnn.GradScaler()
    >>> with minicnn.autocast("float16"):
    ...     loss = (w * w).sum()
    >>> scaler.scale(loss).backward()
    >>> w.grad
    array([131072.], dtype=float32)
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> w.data
    array([0.], dtype=float32)
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._enabled = bool(enabled)
        self._set("GradScaler", "init_scale", init_scale, growth_factor, backoff_factor, growth_interval, 0)
        self._forget()

    def _set(
        self, op: str, name: str, scale: float, growth: float, backoff: float, interval: int, streak: int
    ) -> None:
        """Take over the numbers, or none of them."""
        scale = _between(op, name, scale, 0, math.inf)
        growth = _between(op, "growth_factor", growth, 1, math.inf)
        backoff = _between(op, "backoff_factor", backoff, 0, 1)
        interval, streak = whole(op, "growth_interval", interval, 1), whole(op, "_growth_tracker", streak, 0)
        self._scale, self._growth, self._backoff = scale, growth, backoff
        self._interval, self._streak = interval, streak

    def _forget(self) -> None:
        """Begin a new step."""
        self._overflow: dict[Optimizer, bool] = {}  # of those unscaled: whether a gradient is infinite or NaN
        self._stepped: set[Optimizer] = set()

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def get_scale(self) -> float:
        """Return s; 1 if not enabled."""
        return self._scale if self._enabled else 1.0

    # A step of the training

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss times s, for ``backward``."""
        return loss * self._scale if self._enabled else loss

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimiser's parameters by s, in place, and look whether all are finite.

        :meth:`step` does it; call it before, where the gradients themselves are wanted, to clip them for example.

        Parameters
        ----------
        optimizer : Optimizer
            Its parameters are on one device.

        Raises
        ------
        RuntimeError
            If they have been unscaled, or the optimiser has stepped, since the last :meth:`update`.
        ValueError
            If a gradient is of float16, in which it would be lost: the parameters shall be of float32.
        """
        if not self._enabled:
            return
        if optimizer in self._stepped:
            raise RuntimeError("GradScaler.unscale_: this optimiser has stepped since the last update()")
        if optimizer in self._overflow:
            raise RuntimeError("GradScaler.unscale_: these gradients were unscaled since the last update()")
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        grads = [p.grad for p in parameters if p.grad is not None]
        for grad in grads:
            if grad.dtype.name == "float16":
                raise ValueError(
                    "GradScaler.unscale_: gradients must not be float16, in which they are lost without the scale; "
                    "keep the parameters in float32, and let autocast cast them"
                )
        if grads:
            self._overflow[optimizer] = _unscale(grads, 1 / self._scale)

    def step(self, optimizer: Optimizer) -> None:
        """Let the optimiser step, unless a gradient is infinite or NaN; :meth:`unscale_` first, if that was not done.

        Raises
        ------
        RuntimeError
            If the optimiser has stepped since the last :meth:`update`, or none of its parameters has a gradient.
        ValueError
            As :meth:`unscale_`.
        """
        if not self._enabled:
            optimizer.step()
            return
        if optimizer in self._stepped:
            raise RuntimeError("GradScaler.step: this optimiser has stepped since the last update()")
        if optimizer not in self._overflow:
            self.unscale_(optimizer)
        if optimizer not in self._overflow:
            raise RuntimeError("GradScaler.step: none of the optimiser's parameters has a gradient")
        if not self._overflow[optimizer]:
            optimizer.step()
        self._stepped.add(optimizer)

    def update(self, new_scale: float | None = None) -> None:
        """Make s smaller or larger, as the gradients since the last update demand; end the step.

        Parameters
        ----------
        new_scale : float, optional
            Set s to this instead.

        Raises
        ------
        RuntimeError
            If no gradients were looked at since the last update, or if gradients are infinite or NaN at whatever scale.
        TypeError, ValueError
            If `new_scale` is no number above 0.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = _between("GradScaler.update", "new_scale", new_scale, 0, math.inf)
        elif not self._overflow:
            raise RuntimeError("GradScaler.update: no optimiser has stepped since the last update()")
        elif any(self._overflow.values()):
            self._shrink()
        else:
            self._streak += 1
            if self._streak >= self._interval:
                self._scale, self._streak = min(self._scale * self._growth, _LARGEST), 0
        self._forget()

    def _shrink(self) -> None:
        if self._scale * self._backoff < _SMALLEST:
            raise RuntimeError(
                f"GradScaler.update: gradients are infinite or NaN even at the scale {self._scale:g}, so the loss "
                "or the network is; minicnn.detect_anomaly() says where it begins"
            )
        self._scale, self._streak = self._scale * self._backoff, 0

    # Checkpoints

    def state_dict(self) -> dict[str, float | int]:
        """Return what is needed to go on later, under PyTorch's names; nothing if not enabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth,
            "backoff_factor": self._backoff,
            "growth_interval": self._interval,
            "_growth_tracker": self._streak,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned; not enabled, do nothing.

        Raises
        ------
        TypeError, ValueError
            If it does not fit.  Nothing has changed then.
        """
        if not self._enabled:
            return
        op, own = "GradScaler.load_state_dict", self.state_dict()
        if not isinstance(state_dict, Mapping) or state_dict.keys() != own.keys():
            got = sorted(state_dict) if isinstance(state_dict, Mapping) else type(state_dict).__name__
            raise ValueError(f"{op}: the state must hold {sorted(own)}, got {got}")
        self._set(op, "scale", *(state_dict[name] for name in own))


def _between(op: str, name: str, value: Any, low: float, high: float) -> float:
    result = number(op, name, value)
    if not low < result < high:
        bound = "" if math.isinf(high) else f" and below {high:g}"
        raise ValueError(f"{op}: {name} must be above {low:g}{bound}, got {value!r}")
    return result


def _unscale(grads: list[Array], inverse: float) -> bool:
    """Multiply all arrays by one factor, in place; return whether one of their elements was infinite or NaN."""
    be = backend.of(*grads, op="GradScaler.unscale_")
    with be.running("GradScaler.unscale_", *grads):
        # 0 · g is 0 or NaN, in any dtype, and so is a sum of such.
        wrong = be.concatenate([(grad * 0).sum().reshape(1) for grad in grads]).sum()
        for grad in grads:
            grad *= inverse
        return wrong.item() != 0
