"""Inception v2 to v4 and Inception-ResNet-v2.

v2      S. Ioffe and C. Szegedy, "Batch Normalization", 2015
v3      C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, "Rethinking the Inception Architecture", 2015
v4      C. Szegedy, S. Ioffe, V. Vanhoucke and A. Alemi, "Inception-v4, Inception-ResNet", 2016, as Inception-ResNet-v2

What the papers leave open, or contradict themselves in, the networks here take from their authors' programs.

The multiply-adds counted for three of them are half the floating-point operations of
https://github.com/osmr/imgclsmob: 2 for each multiply-add, 4 for a normalised number, 1 for a ReLU and for a number
that is pooled; one less for each pair of maps that a convolution without a bias joins.
"""

from __future__ import annotations

from .claim import COUNTED, Because, contradicts, cut_off, deviates, table


def _more_than_macs(ours: str, arithmetic: str, what: str) -> Because:
    return deviates(
        ours,
        "half of all floating-point operations is counted; beside multiply-adds these are "
        f"{what}: {ours} + {arithmetic}",
    )


V2 = [
    *table(
        "Figure 5",
        """
        row                       layers         output
        convolution               conv1          112×112×64
        max pool                  maxpool1       56×56×64
        convolution 2             conv2 + conv3  56×56×192
        max pool 2                maxpool2       28×28×192
        inception (3a)            inception3a    28×28×256
        inception (3b)            inception3b    28×28×320
        inception (3c), stride 2  inception3c    28×28×576
        inception (4a)            inception4a    14×14×576
        inception (4b)            inception4b    14×14×576
        inception (4c)            inception4c    14×14×576
        inception (4d)            inception4d    14×14×576
        inception (4e), stride 2  inception4e    14×14×1024
        inception (5a)            inception5a    7×7×1024
        inception (5b)            inception5b    7×7×1024
        avg pool                  avgpool        1×1×1024
        """,
        network="inception_v2",
        because={
            ("inception (3c), stride 2", "output"): contradicts(
                "14×14×576",
                "a stride of 2 makes 28/2 = 14 of the 28×28 printed for the row before, as printed for the next row",
            ),
            ("inception (4c)", "output"): contradicts(
                "14×14×608", "the row's branches have 160 + 160 + 160 + 128 = 608 maps"
            ),
            ("inception (4d)", "output"): contradicts(
                "14×14×608", "the row's branches have 96 + 192 + 192 + 128 = 608 maps"
            ),
            ("inception (4e), stride 2", "output"): contradicts(
                "7×7×1056",
                "a stride of 2 makes 14/2 = 7, as printed for the next row, and with (4d) passed through there are "
                "192 + 256 + 608 = 1056 maps",
            ),
        },
    ),
    *table(
        "section 4.2",
        """
        network       parameters
        inception_v2  13.6·10⁶
        """,
        because={
            ("inception_v2", "parameters"): contradicts(
                "11,295,240",
                "the widths of Figure 5 make no more than 11,295,240 parameters; and 25 % more than GoogLeNet has, as "
                "the appendix says, would be 1.25·6,998,552 = 8,748,190",
            ),
        },
    ),
    *table(
        "whole network",
        """
        network       parameters  MACs
        inception_v2  11,295,240  2.05 G
        """,
        source=COUNTED,
        because={
            ("inception_v2", "MACs"): _more_than_macs(
                "2,032,600,064",
                "(5·3,736,544 + 12,242,944)/2 = 2,048,062,896",
                "5 for each normalised and rectified number and 12,242,944 for pooling",
            ),
        },
    ),
]

V3 = [
    *table(
        "Table 1",
        """
        row          layers         input
        conv         Conv2d_1a_3x3  299×299×3
        conv 2       Conv2d_2a_3x3  149×149×32
        conv padded  Conv2d_2b_3x3  147×147×32
        pool         maxpool1       147×147×64
        conv 3       Conv2d_3b_1x1  73×73×64
        conv 4       Conv2d_4a_3x3  71×71×80
        conv 5       maxpool2       35×35×192
        3×Inception  Mixed_5b       35×35×288
        5×Inception  Mixed_6b       17×17×768
        2×Inception  Mixed_7b       8×8×1280
        pool 2       avgpool        8×8×2048
        linear       fc             1×1×2048
        """,
        network="inception_v3",
        because={
            ("conv 4", "input"): deviates(
                "73×73×80",
                "the convolution before it is 1×1 in the authors' program, followed here, and 3×3 in the table",
            ),
            ("conv 5", "input"): deviates(
                "71×71×192",
                "the authors' program has a max pool here, and the 35×35×192 that the table puts into a convolution "
                "come out of it",
            ),
            ("3×Inception", "input"): deviates(
                "35×35×192",
                "without the fifth convolution 192 maps come in; it is the second and third module here that have 288",
            ),
        },
    ),
    *table(
        "Table 1, softmax",
        """
        network       output
        inception_v3  1×1×1000
        """,
    ),
    *table(
        "abstract",
        """
        network                        parameters    MACs
        inception_v3 aux_logits=False  < 25 million  5 billion
        """,
        because={("inception_v3 aux_logits=False", "MACs"): cut_off()},
    ),
    *table(
        "whole network",
        """
        network                        parameters  MACs
        inception_v3 aux_logits=False  23,834,568  5.713 G
        inception_v3                   27,161,264  –
        """,
        source=COUNTED,
    ),
]

V4 = [
    *table(
        "Figure 3",
        """
        row                  layers  output
        3×3 conv, stride 2   stem.0  149×149×32
        3×3 conv             stem.1  147×147×32
        3×3 conv, padded     stem.2  147×147×64
        filter concat        stem.3  73×73×160
        filter concat 2      stem.4  71×71×192
        filter concat 3      stem.5  35×35×384
        """,
        network="inception_v4",
    ),
    *table(
        "Figure 9",
        """
        row              layers       input      output
        stem             stem         299×299×3  35×35×384
        4×Inception-A    inception_a  –          35×35×384
        Reduction-A      reduction_a  –          17×17×1024
        7×Inception-B    inception_b  –          17×17×1024
        Reduction-B      reduction_b  –          8×8×1536
        3×Inception-C    inception_c  –          8×8×1536
        average pooling  avgpool      –          1×1×1536
        softmax          fc           –          1×1×1000
        """,
        network="inception_v4",
    ),
    *table(
        "whole network",
        """
        network       parameters  MACs
        inception_v4  42,679,816  12.30 G
        """,
        source=COUNTED,
        because={
            ("inception_v4", "MACs"): _more_than_macs(
                "12,253,974,624",
                "(5·15,089,184 + 45,105,792 − 18,647,136)/2 = 12,304,926,912",
                "5 for each normalised and rectified number, 45,105,792 for pooling, less one for each of "
                "18,647,136 pairs of maps joined without a bias",
            ),
        },
    ),
]

RESNET_V2 = [
    *table(
        "Figures 3 and 16 to 19",
        """
        row                 layers            output
        stem                stem + mixed_5b   35×35×384
        Inception-ResNet-A  inception_a.0.up  35×35×384
        Inception-ResNet-B  inception_b.0.up  17×17×1154
        Inception-ResNet-C  inception_c.0.up  8×8×2048
        """,
        network="inception_resnet_v2",
        because={
            ("stem", "output"): deviates(
                "35×35×320",
                "the authors' program, followed here, has the stem of v3 and one more module, of 320 maps",
            ),
            ("Inception-ResNet-A", "output"): deviates(
                "35×35×320",
                "what comes from the stem of the authors' program, to which it is added, has 320 maps",
            ),
            ("Inception-ResNet-B", "output"): contradicts(
                "17×17×1088",
                "it is added to what Reduction-A makes, and by Table 1 that is 384 + 384 + 384 = 1152 maps; in the "
                "authors' program, followed here, 320 + 384 + 384 = 1088",
            ),
            ("Inception-ResNet-C", "output"): contradicts(
                "8×8×2080",
                "it is added to what Reduction-B makes, and by Figure 18 that is 1152 + 384 + 288 + 320 = 2144 maps; "
                "in the authors' program, followed here, 1088 + 384 + 288 + 320 = 2080",
            ),
        },
    ),
    *table(
        "whole network",
        """
        network              parameters  MACs
        inception_resnet_v2  55,843,464  13.19 G
        """,
        source=COUNTED,
        because={
            ("inception_resnet_v2", "MACs"): _more_than_macs(
                "13,155,794,016",
                "(4·13,519,136 + 24,925,856 + 8,860,416 − 22,172,768)/2 = 13,188,639,040",
                "4 for each normalised number, 24,925,856 for ReLUs, 8,860,416 for pooling, less one for each of "
                "22,172,768 pairs of maps joined without a bias",
            ),
        },
    ),
]

CLAIMS = [*V2, *V3, *V4, *RESNET_V2]
