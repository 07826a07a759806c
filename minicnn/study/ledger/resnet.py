"""Residual networks: K. He, X. Zhang, S. Ren and J. Sun, "Deep Residual Learning for Image Recognition", 2015.

Table 1 gives FLOPs, which are multiply-adds.  The 34 layers of Figure 3 and Table 2 have shortcuts without parameters,
option A; 50 layers and more have option B (section 4.1).
"""

from __future__ import annotations

from .claim import COUNTED, cut_off, table

SIZES = """
    row      layers   output
    conv1    conv1    112×112
    conv2_x  layer1   56×56
    conv3_x  layer2   28×28
    conv4_x  layer3   14×14
    conv5_x  layer4   7×7
    average  avgpool  1×1
"""
_IMAGENET = ["plain18", "plain34", *(f"resnet{depth} variant=paper" for depth in (18, 34, 50, 101, 152))]

CLAIMS = [
    *(claim for network in _IMAGENET for claim in table("Table 1", SIZES, network=network)),
    *table(
        "Table 1",
        """
        network                             MACs
        resnet18 variant=paper shortcut=A   1.8×10⁹
        resnet34 variant=paper shortcut=A   3.6×10⁹
        resnet50 variant=paper              3.8×10⁹
        resnet101 variant=paper             7.6×10⁹
        resnet152 variant=paper             11.3×10⁹
        """,
        because={("resnet50 variant=paper", "MACs"): cut_off()},
    ),
    *table(
        "section 3.3 and Figure 3",
        """
        network                            MACs
        plain34                            3.6 billion
        resnet34 variant=paper shortcut=A  3.6 billion
        """,
    ),
    *table(
        "whole network",
        """
        network                            parameters  MACs
        plain18                            11,515,688  –
        plain34                            21,623,848  –
        resnet34 variant=paper shortcut=A  21,623,848  –
        resnet18 variant=paper             11,689,512  1.814 G
        resnet34 variant=paper             21,797,672  3.664 G
        resnet50 variant=paper             25,557,032  3.858 G
        resnet101 variant=paper            44,549,160  7.570 G
        resnet152 variant=paper            60,192,808  11.282 G
        resnet18                           11,689,512  1.814 G
        resnet34                           21,797,672  3.664 G
        resnet50                           25,557,032  4.089 G
        resnet101                          44,549,160  7.801 G
        resnet152                          60,192,808  11.514 G
        """,
        source=COUNTED,
    ),
    *table(
        "section 4.2",
        """
        row                layers   output
        2n + 1 layers      layer1   32×32×16
        2n layers          layer2   16×16×32
        2n layers          layer3   8×8×64
        """,
        network="resnet_cifar depth=20",
    ),
    *table(
        "Table 6",
        """
        network                  parameters
        resnet_cifar depth=20    0.27 M
        resnet_cifar depth=32    0.46 M
        resnet_cifar depth=44    0.66 M
        resnet_cifar depth=56    0.85 M
        resnet_cifar depth=110   1.7 M
        resnet_cifar depth=1202  19.4 M
        """,
    ),
    *table(
        "whole network",
        """
        network                                      parameters
        resnet_cifar depth=20                        269,722
        resnet_cifar depth=32                        464,154
        resnet_cifar depth=44                        658,586
        resnet_cifar depth=56                        853,018
        resnet_cifar depth=110                       1,727,962
        resnet_cifar depth=1202                      19,421,274
        resnet_cifar depth=20 shortcut=B             272,474
        resnet_cifar depth=32 shortcut=B             466,906
        resnet_cifar depth=44 shortcut=B             661,338
        resnet_cifar depth=56 shortcut=B             855,770
        resnet_cifar depth=110 shortcut=B            1,730,714
        resnet_cifar depth=1202 shortcut=B           19,424,026
        resnet_cifar depth=20 residual=False         269,722
        """,
        source=COUNTED,
    ),
]
