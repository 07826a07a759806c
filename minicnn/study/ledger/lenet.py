"""LeNet-5: Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998.

Section II.B gives parameters and connections layer by layer, and in Figure 2 the sizes.  The total of 340,908
connections is that of C1 to C5, F6's 10,164 and 840 more, from the 84 units of F6 to each of the 10 outputs: these
two the paper does not print.  The other two variants have no paper; dense convolutions and a dense output make
61,706 parameters of them.
"""

from __future__ import annotations

from .claim import COUNTED, table

CLAIMS = [
    *table(
        "Figure 2",
        """
        row     layers  input  output
        input   –       32×32  –
        C1      c1      –      6@28×28
        S2      s2      –      6@14×14
        C3      c3      –      16@10×10
        S4      s4      –      16@5×5
        """,
        network="lenet5 variant=paper",
    ),
    *table(
        "section II.B",
        """
        row     layers  units  parameters  connections
        C1      c1      –      156         122,304
        S2      s2      –      12          5,880
        C3      c3      –      1,516       151,600
        S4      s4      –      32          2,000
        C5      c5      120    48,120      48,120
        F6      f6      84     10,164      –
        output  output  10     –           –
        total   –       –      60,000      340,908
        """,
        network="lenet5 variant=paper",
    ),
    *table(
        "section II.B, by difference",
        """
        row     layers  parameters  connections
        F6      f6      –           10,164
        output  output  0           840
        """,
        network="lenet5 variant=paper",
        source=COUNTED,
    ),
    *table(
        "whole network",
        """
        network                parameters  MACs
        lenet5 variant=modern  61,706      0.42 M
        lenet5 variant=d2l     61,706      0.42 M
        """,
        source=COUNTED,
    ),
]
