"""Second derivatives: products with known Hessians, and wrong gradients that are no gradients at all."""

import math

import numpy as np
import pytest
from formulas import op
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn
from minicnn import Tensor, models, nn, tensor
from minicnn import functional as F
from minicnn.tensor import is_grad_enabled
from minicnn.testing import GradcheckError, Verdict, check_symmetry, gradcheck, hvp

each_seed = pytest.mark.parametrize("seed", range(3))


def scaled(factor):
    """y = x, and a backward that scales the gradient on its way."""
    return op(lambda x: x.copy(), lambda g, x: (factor * g,))


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


# Products with Hessians that are known


@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6), scale=st.sampled_from([1e-20, 1e-3, 1.0, 1e3, 1e20])
)
@settings(max_examples=30)
def test_a_quadratic_form_has_its_matrix(seed, n, scale):
    a, x, v = draw((n, n), n, n, seed=seed)
    hessian = a + a.T
    product = hvp(lambda x: (x * (Tensor(a) @ x)).sum(), scale * x, v)
    expected = hessian @ v
    room = np.linalg.norm(a) * np.linalg.norm(v)
    assert np.linalg.norm(product.products[0] - expected) <= 1e-10 * room
    assert np.linalg.norm(product.products[0] - expected) <= product.error <= 1e-7 * room


@each_seed
def test_cross_entropy_has_the_hessian_of_a_softmax(seed):
    """For one sample: diag p − p pᵀ."""
    [z] = draw((1, 7), seed=seed)
    p = np.exp(z[0]) / np.exp(z[0]).sum()
    for i, v in enumerate(np.eye(7)):
        product = hvp(lambda z: F.cross_entropy(z, Tensor(np.array([3]))), z, v[None])
        np.testing.assert_allclose(product.products[0][0], p * v - p * p[i], rtol=0, atol=1e-9)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_the_error_is_one(seed):
    x, v = draw(5, 5, seed=seed)
    for fn, second in [
        (lambda x: x.exp().sum(), np.exp),
        (lambda x: F.tanh(x).sum(), lambda x: -2 * np.tanh(x) * (1 - np.tanh(x) ** 2)),
        (lambda x: (x**4).sum(), lambda x: 12 * x**2),
    ]:
        found, error = hvp(fn, x, v)
        assert np.linalg.norm(found[0] - second(x) * v) <= error <= 1e-6 * np.linalg.norm(v)


def test_several_inputs_and_parameters_each_get_a_product():
    """φ = ⟨a, b∘w⟩: each product is the sum over the two others."""
    a, b, w, u, v = draw(4, 4, 4, 4, 4)
    parameter = Tensor(w.astype(np.float32), requires_grad=True)
    parameter.grad = kept = np.ones(4, np.float32)
    array = parameter.data

    def fn(a, stride, b):
        assert stride == 2
        return (a * b * parameter).sum()

    products = hvp(fn, (a, 2, b), [u, None, v], parameters={"w": parameter}).products
    w = array.astype(np.float64)
    for found, expected in zip(products, (b * v, u * w + a * v, u * b), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    assert parameter.data is array
    assert parameter.grad is kept


def test_matrices_keep_their_shape():
    x, v = draw((2, 3), (2, 3))
    [product] = hvp(lambda x: (x**3).sum(), Tensor(x), Tensor(v)).products
    np.testing.assert_allclose(product, 6 * x * v, rtol=1e-8)


def test_what_does_not_move_the_gradient():
    x, v = draw(3, 3)
    [linear] = hvp(lambda x: (x * 2).sum(), x, v).products
    np.testing.assert_allclose(linear, 0, atol=1e-12)
    [unmoved] = hvp(lambda x: (x**2).sum(), x, [None]).products
    np.testing.assert_array_equal(unmoved, np.zeros(3))
    [unused] = hvp(lambda x: tensor([2.0], dtype="float64").sum(), x, v).products
    np.testing.assert_array_equal(unused, np.zeros(3))


def test_a_jump_of_the_gradient_beside_the_point_does_no_harm():
    """relu(x − 1 + d)·x is x² − (1 − d)·x at 1, and 0 from 1 − d on."""
    for d in (1e-1, 1e-3, 1e-5):
        (product,), error = hvp(lambda x, d=d: (F.relu(x - (1 - d)) * x).sum(), np.ones(1), np.ones(1))
        assert abs(product[0] - 2) <= error < 1e-4


def test_a_jump_at_the_point_shows_in_the_error():
    (product,), error = hvp(lambda x: F.relu(x).sum(), np.array([0.0, 1.0]), np.ones(2))
    assert error > np.linalg.norm(product) / 2 > 10


def test_steps_that_leave_the_domain_are_passed_over():
    (product,), error = hvp(lambda x: x.log().sum(), np.array([1e-5, 1.0]), np.ones(2))
    assert np.linalg.norm(product + np.array([1e10, 1.0])) <= error < 1e6


def test_eight_gradients_a_product():
    recorded = []

    def fn(x):
        recorded.append(is_grad_enabled())
        return x.exp().sum()

    hvp(fn, np.ones(5), np.ones(5))
    assert recorded.count(True) == 10  # forward; rounding's measure; two to either side at four steps
    assert recorded.count(False) == 1


# Gradients of smooth networks have symmetric Jacobians


def lenet(variant):
    minicnn.manual_seed(0)
    model = models.lenet5(variant)
    [images] = draw((2, *model.input_shape))
    labels = Tensor(np.array([3, 7]))
    return lambda x: model.loss(model(x), labels), images, dict(model.named_parameters())


def conv_bn():
    """Convolutions, batch norms with parameters, tanh, LRN with an even window, average pooling, softmax."""
    minicnn.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6, eps=0.1),
        nn.Tanh(),
        nn.LocalResponseNorm(4, alpha=1.0, k=1.0),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 4, 2, stride=2, groups=2),
        nn.BatchNorm2d(4),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Softmax(1),
    ).to("float64")
    return net, draw((3, 3, 8, 8))[0], dict(net.named_parameters())


@pytest.mark.parametrize("network", ["paper", "d2l", "conv_bn"])
def test_smooth_networks_are_symmetric(network):
    fn, x, parameters = conv_bn() if network == "conv_bn" else lenet(network)
    report = check_symmetry(fn, x, parameters=parameters)
    assert [pair.verdict for pair in report.pairs] == [Verdict.AGREES] * 2
    assert max(pair.asymmetry for pair in report.pairs) < 1e-7


def test_a_network_of_relus_is_symmetric_between_its_kinks():
    fn, x, parameters = lenet("modern")
    assert check_symmetry(fn, x, parameters=parameters).ok


@each_seed
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_of_the_numbers_does_not_matter(seed, scale):
    x, w = draw((3, 4), (4, 2), seed=seed)
    fn = lambda x, w: F.softmax(x / scale @ w, 1)  # noqa: E731
    assert check_symmetry(fn, (scale * x, w), seed=seed).ok
    with pytest.raises(GradcheckError):
        check_symmetry(lambda x, w: fn(x, scaled(1.01)(w)), (scale * x, w), seed=seed)


# Wrong gradients, the formulas written out here so that they stand on nothing of the package


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def normalised(x, eps=0.1):
    return (x - x.mean(0)) / np.sqrt(x.var(0) + eps)


def inverse_deviation(x, eps=0.1):
    return 1 / np.sqrt(x.var(0) + eps)


def window_sum(x, before, after):
    n = x.shape[1]
    return np.stack([x[:, max(0, c - before) : c + after + 1].sum(1) for c in range(n)], 1)


def lrn(x):
    """x / √(1 + Σ x²), the sum over the channels c − 2 … c + 1."""
    return x / np.sqrt(1 + window_sum(x * x, 2, 1))


def lrn_backward(before, after):
    def backward(g, x):
        d = 1 + window_sum(x * x, 2, 1)
        return (g / np.sqrt(d) - x * window_sum(g * x * d**-1.5, before, after),)

    return backward


def softmax_backward(g, x):
    y = softmax(x)
    return (y * (g - (g * y).sum(1, keepdims=True)),)


def batch_norm_backward(g, x):
    n = normalised(x)
    return ((g - g.mean(0) - n * (g * n).mean(0)) * inverse_deviation(x),)


RIGHT = {
    "softmax": (softmax, softmax_backward, [(4, 5)]),
    "batch norm": (normalised, batch_norm_backward, [(6, 3)]),
    "LRN": (lrn, lrn_backward(1, 2), [(3, 7)]),
    "matmul": (lambda a, b: a @ b, lambda g, a, b: (g @ b.T, a.T @ g), [(4, 4), (4, 4)]),
}

NO_GRADIENT = {
    "softmax: without the sum": (softmax, lambda g, x: (g * softmax(x),), [(4, 5)]),
    "batch norm: mean's term dropped": (
        normalised,
        lambda g, x: ((g - normalised(x) * (g * normalised(x)).mean(0)) * inverse_deviation(x),),
        [(6, 3)],
    ),
    "batch norm: variance's term dropped": (
        normalised,
        lambda g, x: ((g - g.mean(0)) * inverse_deviation(x),),
        [(6, 3)],
    ),
    "batch norm: unbiased for biased": (
        normalised,
        lambda g, x: (
            (g - g.mean(0) - normalised(x) * (g * normalised(x)).sum(0) / 5) * inverse_deviation(x),
        ),
        [(6, 3)],
    ),
    "LRN: window not mirrored": (lrn, lrn_backward(2, 1), [(3, 7)]),
    "LRN: second term dropped": (
        lrn,
        lambda g, x: (g / np.sqrt(1 + window_sum(x * x, 2, 1)),),
        [(3, 7)],
    ),
    "matmul: transpose forgotten": (
        lambda a, b: a @ b,
        lambda g, a, b: (g @ b, a.T @ g),
        [(4, 4), (4, 4)],
    ),
    "matmul: gradients to the wrong inputs": (
        lambda a, b: a @ b,
        lambda g, a, b: (a.T @ g, g @ b.T),
        [(4, 4), (4, 4)],
    ),
    "matmul: one of two scaled": (
        lambda a, b: a @ b,
        lambda g, a, b: (g @ b.T, 1.01 * a.T @ g),
        [(4, 4), (4, 4)],
    ),
}


@each_seed
@pytest.mark.parametrize("name", RIGHT)
def test_the_right_formulas_are_symmetric(name, seed):
    forward, backward, shapes = RIGHT[name]
    assert check_symmetry(op(forward, backward), draw(*shapes, seed=seed), seed=seed).ok


@each_seed
@pytest.mark.parametrize("name", NO_GRADIENT)
def test_a_field_that_is_no_gradient_is_seen(name, seed):
    forward, backward, shapes = NO_GRADIENT[name]
    with pytest.raises(GradcheckError, match="what backward returns is no gradient") as caught:
        check_symmetry(op(forward, backward), draw(*shapes, seed=seed), seed=seed)
    assert caught.value.report.pairs[0].verdict is Verdict.MISMATCH


def test_the_values_of_forward_are_not_looked_at():
    """The same softmax backward under a forward that computes something else."""
    fn = op(lambda x: x**2, softmax_backward)
    assert check_symmetry(fn, draw((4, 5))).ok


CONSERVATIVE = {
    "scaled as a whole": (softmax, lambda g, x: (1.01 * softmax_backward(g, x)[0],), [(4, 5)]),
    "sign flipped": (normalised, lambda g, x: (-batch_norm_backward(g, x)[0],), [(6, 3)]),
    "a constant added": (softmax, lambda g, x: (softmax_backward(g, x)[0] + 1,), [(4, 5)]),
    "elementwise: y for y²": (np.tanh, lambda g, x: (g * (1 - np.tanh(x)),), [(4, 5)]),
    "linear": (lambda x: 2 * x, lambda g, x: (3 * g[::-1],), [(4, 5)]),
}


@pytest.mark.parametrize("name", CONSERVATIVE)
def test_a_wrong_field_that_is_another_functions_gradient_is_not_seen(name):
    """What the module says it cannot see; gradcheck does."""
    forward, backward, shapes = CONSERVATIVE[name]
    fn, inputs = op(forward, backward), draw(*shapes)
    assert check_symmetry(fn, inputs).ok
    with pytest.raises(GradcheckError):
        gradcheck(fn, inputs)


def mlp(spoil, hidden=F.tanh):
    return lambda x, w1, w2: F.cross_entropy(F.linear(hidden(spoil(F.linear(x, w1))), w2), LABELS)


LABELS = Tensor(np.array([0, 1, 2, 0]))
MLP = [(4, 5), (6, 5), (3, 6)]


@each_seed
def test_inside_a_network_even_these_show(seed):
    inputs = draw(*MLP, seed=seed)
    wrong_tanh = op(np.tanh, lambda g, x: (g * (1 - np.tanh(x)),))
    assert check_symmetry(mlp(scaled(1.0)), inputs, seed=seed).ok
    for fn in (mlp(scaled(1.01)), mlp(scaled(1.0), wrong_tanh)):
        with pytest.raises(GradcheckError):
            check_symmetry(fn, inputs, seed=seed)


def test_the_report_names_the_blocks():
    """What is scaled in front of w2 belongs together, and so does w2: only between them something is wrong."""
    with pytest.raises(GradcheckError) as caught:
        check_symmetry(mlp(scaled(1.5)), draw(*MLP), seed=7)
    report = caught.value.report
    assert report.pairs[0].name == "pair 1"
    assert {pair.name for pair in report.pairs[1:]} == {"input 0 × input 2", "input 1 × input 2"}
    for pair in report.pairs[1:]:
        assert pair.uhv / pair.vhu == pytest.approx(1.5, rel=1e-6)
        assert pair.asymmetry == pytest.approx(1 / 3, rel=1e-6)
    assert str(caught.value) == str(report)
    headline, headings, *rows = str(report).splitlines()
    assert headline.endswith("no gradient, its Jacobian is not symmetric (seed 7, rtol 1e-06)")
    assert headings.split("  ")[0] == "vectors"
    assert [row.split()[-1] for row in rows] == ["mismatch"] * 3


def test_the_worst_block_comes_first():
    """A wrong tanh between w1 and w2: the blocks among what lies before it are asymmetric too, w2's own is not."""
    wrong_tanh = op(np.tanh, lambda g, x: (g * (1 - np.tanh(x)),))
    with pytest.raises(GradcheckError) as caught:
        check_symmetry(mlp(scaled(1.0), wrong_tanh), draw(*MLP))
    blocks = caught.value.report.pairs[1:]
    before, behind = ("input 0", "input 1"), "input 2"
    assert {block.name for block in blocks} == {
        f"{a} × {b}" for i, a in enumerate(before) for b in (*before[i:], behind)
    }
    sizes = [block.asymmetry for block in blocks]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_a_kink_at_the_point_is_unresolved_and_beside_it_is_not():
    x, w = draw((3, 4), (4, 4))
    fn = lambda x, w: F.relu(x) @ w  # noqa: E731
    assert check_symmetry(fn, (x, w)).ok
    x[1, 2] = 0
    with pytest.raises(GradcheckError, match="does it jump here") as caught:
        check_symmetry(fn, (x, w))
    assert {pair.verdict for pair in caught.value.report.pairs} == {Verdict.UNRESOLVED}


def test_no_second_derivative_is_faint():
    report = check_symmetry(lambda x: x * 3, draw((3, 4)))
    assert [pair.verdict for pair in report.pairs] == [Verdict.FAINT] * 2


def test_reports_are_repeatable():
    inputs = draw(*MLP)
    fn = mlp(scaled(1.0))
    assert check_symmetry(fn, inputs, seed=3) == check_symmetry(fn, inputs, seed=3)
    assert check_symmetry(fn, inputs, seed=3).pairs != check_symmetry(fn, inputs, seed=4).pairs
    assert len(check_symmetry(fn, inputs, pairs=1).pairs) == 1


# Bad input


@pytest.mark.parametrize("name", ["hvp", "check_symmetry"])
def test_misconduct(name):
    check = {"hvp": lambda fn, x: hvp(fn, x, x), "check_symmetry": check_symmetry}[name]
    rng = np.random.default_rng(0)
    with pytest.raises(GradcheckError, match=f"^{name}: fn must be deterministic"):
        check(lambda x: (x * rng.normal()).sum(), np.ones(3))
    with pytest.raises(GradcheckError, match=f"^{name}: fn's output must be finite"):
        check(lambda x: (x / 0.0).sum(), np.ones(3))
    with pytest.raises(GradcheckError, match=f"^{name}: backward's gradient of input 0 must be finite"):
        check(lambda x: (x * 0).sqrt().sum(), np.ones(3))


def test_a_backward_that_is_random_is_told_so():
    rng = np.random.default_rng(0)
    with pytest.raises(GradcheckError, match=r"^check_symmetry: backward must be deterministic"):
        check_symmetry(op(lambda x: x.copy(), lambda g, x: (g * rng.normal(),)), np.ones(3))


def test_what_no_input_reaches_is_symmetric():
    assert check_symmetry(lambda x: tensor([1.0], dtype="float64"), np.ones(3)).ok


def test_a_frozen_parameter_is_differentiated_by_all_the_same():
    x, frozen = np.array([2.0, 3.0]), Tensor(np.array([5.0, 7.0]))
    _, product = hvp(lambda x: (x * frozen).sum(), x, [np.ones(2), None], parameters=[frozen]).products
    np.testing.assert_allclose(product, 1, rtol=1e-9)
    assert gradcheck(lambda x: x * frozen, x, parameters=frozen).ok
    assert not frozen.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lambda x: x, np.ones(2), np.ones(2)), "hvp: fn must return one number, got 2"),
        ((lambda x: x.sum(), np.ones(2), []), "hvp: there must be a vector for each of input 0, got 0"),
        (
            (lambda x: x.sum(), np.ones(2), np.ones(3)),
            r"hvp: the vector for input 0 must have its shape \(2,\), got \(3,\)",
        ),
        ((lambda x: x.sum(), np.ones(2), np.full(2, np.nan)), "hvp: the vector for input 0 must be finite"),
        ((lambda x: x.sum(), np.array([np.inf]), np.ones(1)), "hvp: input 0 must be finite"),
        ((lambda: 1, (), ()), "hvp: there must be a floating-point array or Tensor to check, got none"),
        ((lambda x: x, np.arange(2), ()), "hvp: there must be a .* got an array of int64"),
    ],
)
def test_products_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        hvp(*arguments)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (1.0, "vectors must be a sequence, or one array, got float"),
        (None, "vectors must be a sequence, or one array, got NoneType"),
        ([np.ones(2) * 1j], "the vector for input 0 must be of real numbers, got complex128"),
    ],
)
def test_vectors_that_are_none(vectors, message):
    with pytest.raises(TypeError, match=f"^hvp: {message}$"):
        hvp(lambda x: x.sum(), np.ones(2), vectors)


@pytest.mark.parametrize("check", [check_symmetry, gradcheck])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inputs": None}, TypeError, "inputs must be a sequence, or one array or Tensor, got NoneType"),
        ({"parameters": nn.ReLU()}, TypeError, r"parameters must be Tensors, such as dict\(.*, got ReLU"),
        (
            {"parameters": {"input 0": tensor([1.0])}},
            ValueError,
            "no parameter can have the name of an input",
        ),
        (
            {"parameters": [tensor([1.0], requires_grad=True) * 2]},
            ValueError,
            "parameter 0 must be a leaf, it was made by Multiply",
        ),
        ({"seed": -1}, ValueError, "seed must be an int of at least 0, got -1"),
        ({"seed": None}, ValueError, "seed must be an int of at least 0, got None"),
    ],
)
def test_arguments_that_make_no_sense(check, arguments, error, message):
    with pytest.raises(error, match=f"^{check.__name__}: {message}"):
        check(lambda x: x, **{"inputs": np.ones(1), **arguments})


@pytest.mark.parametrize("check", [lambda fn, x: hvp(fn, x, x), check_symmetry, gradcheck])
def test_what_is_no_tensor_is_answered_in_the_name_of_the_check(check):
    name = getattr(check, "__name__", "").replace("<lambda>", "hvp")
    with pytest.raises(TypeError, match=f"^{name}: fn must return a floating-point Tensor, .* got int$"):
        check(lambda x: 1, np.ones(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 0}, "check_symmetry: pairs must be an int of at least 1, got 0"),
        ({"rtol": -1}, "check_symmetry: rtol must be at least 0 and below 1, got -1"),
        ({"rtol": math.nan}, "rtol must be"),
    ],
)
def test_settings_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        check_symmetry(lambda x: x, np.ones(2), **options)
