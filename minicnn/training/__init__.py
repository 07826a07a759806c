"""Training: the loop, its evaluation, and what a run shows and leaves behind.

>>> import minicnn
>>> from minicnn import data, models
>>> _ = minicnn.manual_seed(0)
>>> train, test = data.load("mnist5k")
>>> history = fit(models.lenet5(), train.subset(slice(400)), test, epochs=3, batch_size=20)
>>> history.evaluation.accuracy > 0.5
True
"""

from __future__ import annotations

from .evaluate import Evaluation, evaluate
from .fit import fit
from .history import Batch, Epoch, History
from .predict import predict_crops
from .prepare import prepare, prepare_picture
from .pretrained import load_pretrained
from .recipes import Recipe, recipe_for
from .run_folder import RunFolder
from .trained import Trained, load_trained

__all__ = [
    "Batch",
    "Epoch",
    "Evaluation",
    "History",
    "Recipe",
    "RunFolder",
    "Trained",
    "evaluate",
    "fit",
    "load_pretrained",
    "load_trained",
    "predict_crops",
    "prepare",
    "prepare_picture",
    "recipe_for",
]
