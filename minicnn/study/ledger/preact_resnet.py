"""Pre-activation: K. He, X. Zhang, S. Ren and J. Sun, "Identity Mappings in Deep Residual Networks", 2016.

For ImageNet the paper changes the blocks, not the sizes of Table 1 of He et al. 2015, and prints no counts.  Those
below are of the networks of https://github.com/osmr/imgclsmob, whose first unit normalises what the first layer has
normalised already, and of https://github.com/google-research/big_transfer, which start as these do.
"""

from __future__ import annotations

from .claim import COUNTED, Because, deviates, table
from .resnet import SIZES


def _normalised_twice(ours: str, printed: str) -> Because:
    return deviates(
        ours, f"there the 64 maps of the first layer are normalised twice: {ours} + 2·64 = {printed}"
    )


CLAIMS = [
    *(
        claim
        for depth in (18, 34, 50, 101, 152, 200)
        for claim in table("He et al. 2015, Table 1", SIZES, network=f"preact_resnet{depth}")
    ),
    *table(
        "imgclsmob",
        """
        network           parameters
        preact_resnet18   11,687,848
        preact_resnet34   21,796,008
        preact_resnet50   25,549,480
        preact_resnet152  60,185,256
        preact_resnet200  64,666,280
        """,
        source=COUNTED,
        because={
            ("preact_resnet18", "parameters"): _normalised_twice("11,687,720", "11,687,848"),
            ("preact_resnet34", "parameters"): _normalised_twice("21,795,880", "21,796,008"),
            ("preact_resnet50", "parameters"): _normalised_twice("25,549,352", "25,549,480"),
            ("preact_resnet152", "parameters"): _normalised_twice("60,185,128", "60,185,256"),
            ("preact_resnet200", "parameters"): _normalised_twice("64,666,152", "64,666,280"),
        },
    ),
    *table(
        "big_transfer, R50x1 and R101x1",
        """
        network           parameters
        preact_resnet50   25,549,352
        preact_resnet101  44,541,480
        """,
        source=COUNTED,
    ),
    *table(
        "Table 4",
        """
        network                         parameters  weights
        preact_resnet_cifar depth=164   1.7M        1.7M
        preact_resnet_cifar depth=1001  10.2M       10.2M
        """,
        because={
            ("preact_resnet_cifar depth=1001", "parameters"): deviates(
                "10,327,706",
                "what is printed is the weights of convolutions and of the dense layer alone; 149,216 parameters of "
                "normalisation and 10 biases make it 10,178,480 + 149,216 + 10 = 10,327,706",
            ),
        },
    ),
    *table(
        "imgclsmob",
        """
        network                         parameters
        preact_resnet_cifar depth=164   1,703,258
        preact_resnet_cifar depth=1001  10,327,706
        """,
        source=COUNTED,
    ),
]
