"""Hold the gradients of a network's parameters to finite differences in float64.

The loss of a small batch of random images is differentiated.  A wrong gradient makes the exit status 1.

For example: minicnn gradcheck lenet5 --variant paper
"""

from __future__ import annotations

import argparse

from .arguments import add_model, build_model, whole_number

_IMAGES, _CLASSES = 2, 10
_RTOL = 1e-5  # a whole network bends more than one layer, so differences are less exact


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser)
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="N", help="of weights and images")


def run(arguments: argparse.Namespace) -> int:
    """Print the report."""
    import numpy as np

    from .. import manual_seed
    from ..tensor import Tensor
    from ..testing import GradcheckError, gradcheck

    generator = manual_seed(arguments.seed)
    model = build_model(arguments, num_classes=_CLASSES)
    model.to(np.float64)
    x = Tensor(generator.standard_normal((_IMAGES, *model.input_shape)))
    labels = Tensor(generator.integers(_CLASSES, size=_IMAGES))
    try:
        report = gradcheck(
            lambda: model.loss(model(x), labels),
            (),
            parameters=dict(model.named_parameters()),
            rtol=_RTOL,
            seed=arguments.seed,
        )
    except GradcheckError as error:
        print(error)
        return 1
    print(report)
    return 0
