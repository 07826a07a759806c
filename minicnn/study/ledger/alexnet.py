"""AlexNet: A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet Classification with Deep CNNs", 2012.

The print says 224×224; the sizes it gives follow from 227×227.
"""

from __future__ import annotations

from .claim import COUNTED, contradicts, cut_off, table

_LAYERS = " + ".join(
    [*(f"features.conv{i}" for i in (1, 2, 3, 4, 5)), *(f"classifier.fc{i}" for i in (6, 7, 8))]
)

CLAIMS = [
    *table(
        "section 3.5 and Figure 2",
        f"""
        row      layers          input      inputs   units
        input    –               224×224×3  150,528  –
        conv1    features.conv1  –          –        253,440
        conv2    features.conv2  –          –        186,624
        conv3    features.conv3  –          –        64,896
        conv4    features.conv4  –          –        64,896
        conv5    features.conv5  –          –        43,264
        fc6      classifier.fc6  –          –        4096
        fc7      classifier.fc7  –          –        4096
        fc8      classifier.fc8  –          –        1000
        neurons  {_LAYERS}       –          –        650,000
        """,
        network="alexnet variant=paper",
        because={
            ("input", "input"): contradicts(
                "227×227×3",
                "conv1's windows of 11×11, 4 apart, must fit 55 times for conv2's 27·27·256 = 186,624 units. "
                "They do into (55 − 1)·4 + 11 = 227 pixels; into 224 they fit 54 times, as into (54 − 1)·4 + 11 = 223",
            ),
            ("input", "inputs"): contradicts(
                "154,587", "224·224·3 = 150,528, but the sizes that follow need 227·227·3 = 154,587"
            ),
            ("conv1", "units"): contradicts(
                "290,400",
                "96 kernels at 55×55 places are 55·55·96 = 290,400 units; what is printed is 55·48·96 = 253,440, "
                "with the 48 kernels of one GPU in place of a side",
            ),
            ("neurons", "units"): contradicts(
                "659,272",
                "the printed layers add up to 253,440 + 186,624 + 64,896·2 + 43,264 + 4096·2 + 1000 = 622,312; "
                "with conv1's 290,400 it is 622,312 − 253,440 + 290,400 = 659,272, of which "
                "the print has the first two digits",
            ),
        },
    ),
    *table(
        "abstract and section 4",
        """
        network                parameters
        alexnet variant=paper  60 million
        """,
        because={("alexnet variant=paper", "parameters"): cut_off()},
    ),
    *table(
        "whole network",
        """
        network                      parameters  MACs
        alexnet variant=paper        60,965,224  724 M
        alexnet variant=single       62,378,344  1,135 M
        alexnet variant=torchvision  61,100,840  714 M
        """,
        source=COUNTED,
    ),
]
