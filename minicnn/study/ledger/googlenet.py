"""GoogLeNet: C. Szegedy et al., "Going Deeper with Convolutions", 2014, Table 1.

The table's K is 1,024, as two of its rows show that come out to the last digit: 64·64 + 9·64·192 = 114,688 = 112·1024
for the second convolution, 1024·1000 = 1000·1024 for the linear layer.  Its parameters are weights, without
biases.  Its M is a million, and its ops are multiply-adds.
"""

from __future__ import annotations

from .claim import COUNTED, Because, contradicts, table

_MODULES = {  # whose printed weights contradict the rest of their rows
    # row   from #1×1 red3 #3×3 red5 #5×5 proj grid weights
    "(3b)": (256, 128, 128, 192, 32, 96, 64, 28, 380),
    "(4a)": (480, 192, 96, 208, 16, 48, 64, 14, 364),
    "(4b)": (512, 160, 112, 224, 24, 64, 64, 14, 437),
    "(4c)": (512, 128, 128, 256, 24, 64, 64, 14, 463),
    "(4d)": (512, 112, 144, 288, 32, 64, 64, 14, 580),
    "(4e)": (528, 256, 160, 320, 32, 128, 128, 14, 840),
    "(5a)": (832, 256, 160, 320, 32, 128, 128, 7, 1072),
    "(5b)": (832, 384, 192, 384, 48, 128, 128, 7, 1388),
}


def _contradiction(row: str, quantity: str) -> Because:
    """Say what a row's widths make, and what its ops would be if its weights were as printed."""
    c, one, red3, three, red5, five, proj, grid, printed = _MODULES[row]
    weights = c * (one + red3 + red5 + proj) + 9 * red3 * three + 25 * red5 * five
    ops = weights * grid**2
    return contradicts(
        f"{weights if quantity == 'weights' else ops:,}",
        f"the widths of this row make {c}·({one} + {red3} + {red5} + {proj}) + 9·{red3}·{three} + 25·{red5}·{five} = "
        f"{weights:,} weights, {weights / 1024:g}K, and {weights:,}·{grid}² = {ops:,} ops; its printed weights would "
        f"take {printed}·1024·{grid}² = {printed * 1024 * grid**2:,}",
    )


_SUM = contradicts(
    "1,582,671,872",
    "the ops of Table 1 add up to 34 + 360 + 128 + 304 + 73 + 88 + 100 + 119 + 170 + 54 + 71 + 1 = 1,502 "
    "million; with 118 for the first convolution and 51 for (5a) it is 1,502 + 118 − 34 + 51 − 54 = 1,583",
)

CLAIMS = [
    *table(
        "Table 1",
        """
        row            layers         output       MACs
        convolution    conv1          112×112×64   34M
        max pool       maxpool1       56×56×64     –
        convolution 2  conv2 + conv3  56×56×192    360M
        max pool 2     maxpool2       28×28×192    –
        (3a)           inception3a    28×28×256    128M
        (3b)           inception3b    28×28×480    304M
        max pool 3     maxpool3       14×14×480    –
        (4a)           inception4a    14×14×512    73M
        (4b)           inception4b    14×14×512    88M
        (4c)           inception4c    14×14×512    100M
        (4d)           inception4d    14×14×528    119M
        (4e)           inception4e    14×14×832    170M
        max pool 4     maxpool4       7×7×832      –
        (5a)           inception5a    7×7×832      54M
        (5b)           inception5b    7×7×1024     71M
        avg pool       avgpool        1×1×1024     –
        dropout        dropout        1×1×1024     –
        linear         fc             1×1×1000     1M
        sum            –              –            1,502M
        """,
        network="googlenet variant=paper aux_logits=False",
        because={
            ("convolution", "MACs"): contradicts(
                "118,013,952",
                "64 kernels of 7×7 on 3 colours, at 112×112 places, take 7·7·3·64·112² = 118,013,952. Printed is "
                "what a separable convolution takes, 8 maps of each colour and then 1×1: "
                "(7·7·3·8 + 24·64)·112² = 34,019,328. Ioffe and Szegedy 2015 have such a first layer; this "
                "table and Figure 3 have not",
            ),
            ("(4a)", "MACs"): _contradiction("(4a)", "MACs"),
            ("(5a)", "MACs"): _contradiction("(5a)", "MACs"),
            ("sum", "MACs"): _SUM,
        },
    ),
    *table(
        "Table 1",
        """
        row            layers         weights
        convolution    conv1          2.7K
        convolution 2  conv2 + conv3  112K
        (3a)           inception3a    159K
        (3b)           inception3b    380K
        (4a)           inception4a    364K
        (4b)           inception4b    437K
        (4c)           inception4c    463K
        (4d)           inception4d    580K
        (4e)           inception4e    840K
        (5a)           inception5a    1072K
        (5b)           inception5b    1388K
        linear         fc             1000K
        """,
        network="googlenet variant=paper aux_logits=False",
        kilo=1024,
        because={
            ("convolution", "weights"): contradicts(
                "9,408",
                "64 kernels of 7×7 on 3 colours have 7·7·3·64 = 9,408 weights. Printed is what a separable "
                "convolution has, 8 maps of each colour and then 1×1: 7·7·3·8 + 24·64 = 2,712, with 1,000 to the K",
            ),
            **{(row, "weights"): _contradiction(row, "weights") for row in _MODULES},
        },
    ),
    *table(
        "section 5",
        """
        row                  layers     output   units
        head on (4a)         aux1.pool  4×4×512  –
        head on (4a), dense  aux1.fc1   –        1024
        head on (4d)         aux2.pool  4×4×528  –
        head on (4d), dense  aux2.fc1   –        1024
        """,
        network="googlenet variant=paper",
    ),
    *table(
        "section 1",
        """
        network                                   MACs
        googlenet variant=paper aux_logits=False  1.5 billion
        """,
        because={("googlenet variant=paper aux_logits=False", "MACs"): _SUM},
    ),
    *table(
        "Szegedy et al. 2015, section 1",
        """
        network                                   parameters
        googlenet variant=paper aux_logits=False  5 million
        """,
        because={
            ("googlenet variant=paper aux_logits=False", "parameters"): contradicts(
                "6,998,552",
                "GoogLeNet's own Table 1 adds up to (2.7 + 112 + 159 + 380 + 364 + 437 + 463 + 580 + 840 + 1072 "
                "+ 1388 + 1000)·1024 = 6,960,845 weights; 5 million is a twelfth of AlexNet's 60, as the papers say",
            ),
        },
    ),
    *table(
        "whole network",
        """
        network                                   parameters  MACs
        googlenet variant=paper aux_logits=False  6,998,552   1.583 G
        googlenet variant=paper                   13,378,280  –
        googlenet aux_logits=False                6,624,904   1.498 G
        googlenet                                 13,004,888  –
        """,
        source=COUNTED,
    ),
]
