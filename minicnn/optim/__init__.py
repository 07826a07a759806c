"""Optimisers and learning-rate schedules, with PyTorch's names and update rules.

Each optimiser is one file that holds its rule; :mod:`minicnn.optim.optimizer` holds what they share.
"""

from __future__ import annotations

from . import lr_scheduler
from .adagrad import Adagrad
from .adam import Adam
from .adamw import AdamW
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .sgd import SGD

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
