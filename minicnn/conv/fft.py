"""Convolution by the convolution theorem: sums of products become one product a frequency.

Along one axis (the other is alike), let x be the padded pixels, and w a kernel with zeros between its samples where it
is dilated: E samples wide.  The sums of the three directions are *circular* ones of any length L, for the results that
are wanted, once L is as large as the pixels they see; and the discrete Fourier transform F turns a circular sum into
an elementwise product (substitute the inverse transform for each factor; the sum over the pixels leaves one term)::

    y[t]  = Σ_r x[t + r] · w[r]            F(y)  = Σ_c F(x) · F(w)*        * is the complex conjugate: a correlation
    dx[t] = Σ_r g[t − r] · w[r]            F(dx) = Σ_k F(g) · F(w)         a convolution
    dw[r] = Σ_t x[t + r] · g[t]            F(dw) = Σ_n F(x) · F(g)*

So each direction multiplies two of the three spectra and transforms the result back.  The sums over channels, or over
images, make a matrix product of it at each frequency.  Where there is a stride, y is computed at every pixel and most
of it dropped; g has zeros there.

The results are cut into *tiles*, squares of T×T pixels that are transformed with all they see (overlap-save): an
L×L transform, L = (T − 1)·stride + E, rounded up to a product of 2s, 3s and 5s.  With L about twice E, what is
computed in vain is bounded, and the kernels' spectra stay small: a whole large image would want as many points of each.
Real data have a symmetric spectrum, of which half is enough: L·(L/2 + 1) frequencies.

Cost, with t tiles: 8·t·L·(L/2+1)·K·C/groups FLOPs in the products, four times as many as frequencies, for they are
complex, whatever R and S; and t·(C + K) + K·C/groups transforms, each about 5·L²·log₂ L FLOPs.  A stride costs as much
as none.  Workspace: the spectra of a block of kernels, and those of a block of tiles and its results, each of 64 MB, or
of one kernel or tile where that is more; each thread transforms some 64 planes of L×L at a time.  Where several blocks
of kernels are needed, the images are transformed again for each.

The error is about ε·log₂ L relative to the *largest* sums in a tile, not to each: where an image has very large and
very small values near each other, the small sums drown, and zeros are not exact.  An infinity or a NaN
spreads over its whole tile.

References
----------
M. Mathieu, M. Henaff, Y. LeCun, "Fast Training of Convolutional Networks through FFTs", 2014.
A. V. Oppenheim, R. W. Schafer, "Discrete-Time Signal Processing", 1989, section 8.9 (overlap-save).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from ..backend.parallel import parallel_for
from ..backend.workspace import scratch
from ..geometry import Window2d
from .problem import Direction, Problem
from .tail import finish

__all__ = ["backward_data", "backward_weight", "forward", "supports"]

LEAST_SIDE = 16  # points of a transform along an axis
RATIO = 2  # or this many times the kernel's extent
BLOCK_BYTES = 1 << 26  # spectra of kernels in one block; and of tiles
PLANES = 64  # transformed together: a run of channels
