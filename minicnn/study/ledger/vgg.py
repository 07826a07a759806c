"""VGG: K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014.

Table 2 has the parameters, in millions.  Multiply-adds are printed by He et al. 2015 (section 3.3, Figure 3 and
section 4.1), for comparison; theirs for VGG-16 leave the dense layers out, those for VGG-19 do not.
"""

from __future__ import annotations

from .claim import COUNTED, contradicts, table

CLAIMS = [
    *table(
        "Table 2",
        """
        network            parameters
        vgg variant=A      133 M
        vgg variant=A-LRN  133 M
        vgg variant=B      133 M
        vgg variant=C      134 M
        vgg variant=D      138 M
        vgg variant=E      144 M
        """,
    ),
    *table(
        "He et al. 2015, section 4.1",
        """
        network  MACs
        vgg16    15.3 billion
        vgg19    19.6 billion
        """,
        because={
            ("vgg16", "MACs"): contradicts(
                "15,470,264,320",
                "the dense layers take 25088·4096 + 4096·4096 + 4096·1000 = 123,633,664, and without them it is "
                "15,470,264,320 − 123,633,664 = 15,346,630,656; but the 19.6 billion printed beside it, for VGG-19, "
                "have them: without, they would be 19.5",
            ),
        },
    ),
    *table(
        "whole network",
        """
        network        parameters   MACs
        vgg11          132,863,336  7.61 G
        vgg13          133,047,848  11.31 G
        vgg variant=C  133,638,952  11.77 G
        vgg16          138,357,544  15.47 G
        vgg19          143,667,240  19.63 G
        vgg11_bn       132,868,840  –
        vgg13_bn       133,053,736  –
        vgg16_bn       138,365,992  –
        vgg19_bn       143,678,248  –
        """,
        source=COUNTED,
    ),
]
