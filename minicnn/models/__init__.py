"""The networks, one paper a file.

A model's docstring says what it follows, by section and table of the paper, and where it deviates.

>>> model = get_model("lenet5", variant="modern")
>>> model.input_shape
(1, 32, 32)
"""

from __future__ import annotations

from .classifier import Classifier
from .lenet import lenet5
from .registry import get_model, list_models

__all__ = ["Classifier", "get_model", "lenet5", "list_models"]
