"""The transforms of Winograd's minimal filtering F(m, r), derived from interpolation points.

F(m, r) computes m outputs of a filter with r taps, y_i = Σ_j d_{i+j} g_j, with n = m + r − 1 multiplications of data by
filter instead of m·r.  It comes from multiplying polynomials.  A product of polynomials g of r coefficients and h of m
has n coefficients; to find them, evaluate both at n points, multiply the values, interpolate (Cook and Toom):

    g ∗ h = V_n⁻¹ [ (V_r g) ⊙ (V_m h) ],      V_k the n×k matrix of the powers aᵢ⁰ … aᵢᵏ⁻¹ of the points aᵢ.

The point ∞ reads off the highest coefficient: its row is (0, …, 0, 1).  With g fixed this is a linear map from h to
g ∗ h, the matrix V_n⁻¹ diag(V_r g) V_m.  Its transpose takes n data to m outputs, and is exactly the filter above:

    y = Aᵀ [ (G g) ⊙ (Bᵀ d) ],      Aᵀ = V_mᵀ,   G = N⁻¹ V_r,   Bᵀ = N V_n⁻ᵀ

where the diagonal N may be anything.  With Nᵢ = Π_{j≠i} (aᵢ − aⱼ) over the finite points, whole points give whole
numbers in Bᵀ, which is applied to the data most often.

In two dimensions the same is done along rows and columns, Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A: n² multiplications for m²
outputs of r² taps.

References
----------
S. Winograd, "Arithmetic Complexity of Computations", SIAM 1980, chapters IV and V.
A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, sections 2 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

__all__ = ["Transforms", "cook_toom"]

Matrix = list[list[Fraction]]


class Transforms(NamedTuple):
    """The matrices of y = Aᵀ [(G g) ⊙ (Bᵀ d)], in float64."""

    output: np.ndarray  # Aᵀ (m, n)
    filter: np.ndarray  # G (n, r)
    data: np.ndarray  # Bᵀ (n, n)


def cook_toom(m: int, r: int, points: Sequence[int | Fraction]) -> Transforms:
    """Derive F(m, r) from m + r − 2 different finite points, to which ∞ is added.

    All arithmetic is on fractions, so each entry is exact until it is rounded to float64 at the end.

    Parameters
    ----------
    m : int
        Outputs.
    r : int
        Taps of the filter.
    points : sequence of int or Fraction

    Raises
    ------
    ValueError
        If the number of points is another, or two are equal.

    Examples
    --------
    >>> transforms = cook_toom(2, 3, points=(0, 1, -1))
    >>> transforms.output
    array([[ 1.,  1.,  1.,  0.],
           [ 0.,  1., -1.,  1.]])
    >>> d, g = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 10.0, 100.0])
    >>> transforms.output @ ((transforms.filter @ g) * (transforms.data @ d))
    array([321., 432.])
    """
    if len(points) != m + r - 2:
        raise ValueError(f"cook_toom: F({m}, {r}) needs {m + r - 2} finite points, got {len(points)}")
    if len(set(points)) < len(points):
        raise ValueError(f"cook_toom: the points must be different, got {tuple(points)}")
    finite = [Fraction(point) for point in points]
    scales = [math.prod(a - b for b in finite if b is not a) for a in finite] + [Fraction(1)]
    evaluate_filter, evaluate_output = _powers(finite, r), _powers(finite, m)
    interpolate = _inverse(_powers(finite, m + r - 1))
    return Transforms(
        output=_array(evaluate_output).T,
        filter=_array([[x / s for x in row] for row, s in zip(evaluate_filter, scales, strict=True)]),
        data=_array([[x * s for x in row] for row, s in zip(_transpose(interpolate), scales, strict=True)]),
    )


def _powers(points: Sequence[Fraction], count: int) -> Matrix:
    """Return a row of the powers 0 … count − 1 for each point, and one for ∞."""
    return [[a**i for i in range(count)] for a in points] + [
        [Fraction(int(i == count - 1)) for i in range(count)]
    ]


def _inverse(matrix: Matrix) -> Matrix:
    """Invert a square matrix by Gauss and Jordan's elimination, exactly.

    No rows are exchanged, so no leading minor may be 0.  Here none is: each is the determinant of such a matrix of
    powers again, of fewer points.
    """
    n = len(matrix)
    rows = [[*row, *(Fraction(int(i == j)) for j in range(n))] for i, row in enumerate(matrix)]
    for i in range(n):
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for j in range(n):
            if j != i:
                rows[j] = [x - rows[j][i] * y for x, y in zip(rows[j], rows[i], strict=True)]
    return [row[n:] for row in rows]


def _transpose(matrix: Matrix) -> Matrix:
    return [list(row) for row in zip(*matrix, strict=True)]


def _array(matrix: Matrix) -> np.ndarray:
    return np.array([[float(x) for x in row] for row in matrix])
