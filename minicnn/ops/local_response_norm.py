"""Local response normalisation across channels."""

from __future__ import annotations

from ..tensor import Function

__all__ = ["LocalResponseNorm"]


class LocalResponseNorm(Function):
    """y_c = x_c / d_c^β with d_c = k + (α/n) Σ_{j ∈ window(c)} x_j².

    The window of channel c are the n channels from c − ⌊n/2⌋ to c + ⌊(n − 1)/2⌋ that exist.  By the chain rule, with
    ∂d_c/∂x_j = (2α/n) x_j for j in window(c),

        dx_j = g_j d_j^−β − (2αβ/n) x_j Σ_{c : j ∈ window(c)} g_c x_c d_c^(−β−1)

    where the last sum runs over the window mirrored.  PyTorch's convention divides α by n; AlexNet's paper does not.

    Kept is x alone: to compute d anew, in the cache, takes no longer than to fetch it from main memory.

    On a GPU a kernel of the project does all of it (:func:`minicnn.backend.gpu_fused.lrn`); `plain` asks for what is
    written here.

    References
    ----------
    A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
    section 3.3.
    """

    def __init__(self, size: int, alpha: float, beta: float, k: float, plain: bool = False):
        self.options, self.plain = (size, alpha, beta, k), plain
        self.before, self.after = size // 2, (size - 1) // 2
        self.alpha, self.beta, self.k = alpha / size, beta, k

    def forward(self, x):
        be = self.be
        self.x = x
        self.plain = self.plain or not (be.fused and be.fused.lrn_takes(x, self.options[0]))
        if not self.plain:
            return be.fused.lrn(x, *self.options)

        def step(x, y):
            x, y = be.moveaxis(x, 1, -1), be.moveaxis(y, 1, -1)
            _, power = self._divisor(x)
            be.divide(x, power, out=y)

        return be.in_pieces(step, x, be.empty_like(x), whole=1)

    def backward(self, g):
        be = self.be
        if not self.plain:
            return be.fused.lrn_backward(self.x, g, *self.options)

        def step(x, g, dx):
            x, g, dx = (be.moveaxis(a, 1, -1) for a in (x, g, dx))
            d, power = self._divisor(x)
            be.divide(g, power, out=dx)
            room, terms = with_margins(be, x, self.after, self.before)
            be.multiply(dx, x, out=terms)
            terms /= d
            sums = window_sums(be, room, x)
            sums *= 2 * self.alpha * self.beta
            sums *= x
            dx -= sums

        return be.in_pieces(step, self.x, g, be.empty_like(g), whole=1)

    def _divisor(self, x):
        """Return d and d^β for x (…, C), in scratch memory."""
        be = self.be
        room, squares = with_margins(be, x, self.before, self.after)
        be.square(x, out=squares)
        d = window_sums(be, room, x)
        d *= self.alpha
        d += self.k
        power = be.scratch("lrn power", d.shape, d.dtype)
        if self.beta == 0.75:  # everybody's choice; two roots are faster than a power
            root = be.sqrt(d, out=power)
            power *= be.sqrt(root, out=squares)
        else:
            be.power(d, self.beta, out=power)
        return d, power


def with_margins(be, x, before: int, after: int):
    """Return zeros (…, before + C + after), in scratch memory, and a view of the middle, shaped like x (…, C).

    A margin wider than C − 1 is cut to that.
    """
    channels = x.shape[-1]
    before, after = (max(min(margin, channels - 1), 0) for margin in (before, after))
    room = be.scratch("lrn room", (*x.shape[:-1], before + channels + after), x.dtype)
    room[..., :before] = 0
    room[..., before + channels :] = 0
    return room, room[..., before : before + channels]


def window_sums(be, room, x):
    """Sum the window of each channel of x (…, C): element c of the room, of :func:`with_margins`, and those after it.

    The room is added up as one line, for NumPy adds long lines faster than short ones; sums that reach from one
    pixel into the next are no window's.
    """
    line, channels = room.reshape(-1), x.shape[-1]
    sums = be.scratch("lrn sums", line.shape, line.dtype)
    sums[...] = line
    for step in range(1, room.shape[-1] - channels + 1):
        sums[:-step] += line[step:]
    return sums.reshape(room.shape)[..., :channels]
