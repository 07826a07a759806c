"""Network in Network: M. Lin, Q. Chen and S. Yan, "Network In Network", 2013.

The paper prints no counts; the sizes of the layers are in its authors' configuration files.  What is known of the
form for ImageNet is only remembered.
"""

from __future__ import annotations

from .claim import COUNTED, UNVERIFIED, table

CLAIMS = [
    *table(
        "whole network",
        """
        network            parameters  MACs
        nin variant=cifar  966,986     222 M
        """,
        source=COUNTED,
    ),
    *table(
        "whole network, Caffe's form",
        """
        network               parameters  MACs
        nin variant=imagenet  7,595,176   1.11 G
        """,
        source=UNVERIFIED,
    ),
]
