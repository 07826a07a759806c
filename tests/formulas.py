"""Operations from formulas, right ones and wrong ones: what the checkers are checked with."""

from minicnn import Function


class Op(Function):
    """Any operation, from formulas: y = forward(*x), and the gradients backward(g, *x) as a tuple."""

    def __init__(self, forward, backward):
        self.formula, self.derivative = forward, backward

    def forward(self, *x):
        self.x = x
        return self.formula(*x)

    def backward(self, g):
        return self.derivative(g, *self.x)


def op(forward, backward):
    """Return a function of tensors with these formulas."""
    return lambda *x: Op(forward, backward)(*x)
