"""The engine: what backward promises about order, memory, ownership and errors."""

import gc
import pickle
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minicnn
from minicnn import Function, Tensor, no_grad, tensor
from minicnn import functional as F


class Pass(Function):
    """y = x, its gradient g itself: the aliasing that in-place accumulation must survive."""

    def forward(self, x):
        return x + 0

    def backward(self, g):
        return g


class Both(Function):
    """y = a + b, returning one array as the gradient of both."""

    def forward(self, a, b):
        return a + b

    def backward(self, g):
        both = g * 1
        return both, both


# Making tensors


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([1.0, 2.0], "float32"),
        ([[1, 2]], "int64"),
        (True, "bool"),
        (np.zeros(2), "float64"),
        (np.zeros(2, np.float16), "float16"),
        (np.float64(1), "float64"),
        ([np.zeros(2)], "float32"),
    ],
)
def test_default_dtypes(data, dtype):
    assert tensor(data).dtype == dtype


def test_tensor_copies_and_Tensor_does_not():
    a = np.zeros(3)
    copied, kept = tensor(a), Tensor(a)
    a[0] = 1
    assert copied.data[0] == 0
    assert kept.data is a


@pytest.mark.parametrize("data", [["a"], [1j], [None], object()])
def test_only_real_numbers(data):
    with pytest.raises(TypeError, match="tensor: data must be real numbers"):
        tensor(data)


def test_an_integer_leaf_cannot_require_a_gradient():
    with pytest.raises(
        TypeError, match="only floating-point tensors can require a gradient, got dtype int64"
    ):
        tensor([1, 2], requires_grad=True)


def test_a_python_number_takes_the_tensors_dtype():
    for dtype in (np.float32, np.float64):
        x = Tensor(np.ones(2, dtype))
        assert all(y.dtype == dtype for y in (x + 1, 2.5 * x, 1 / x, x**2, -x))
    assert (tensor([1]) + 0.5).dtype == np.float32


def test_a_python_number_of_a_later_kind_keeps_its_own():
    assert (tensor([True, False]) * 2).data.tolist() == [2, 0]
    assert (tensor([True, False]) + 1).dtype == np.int64
    with pytest.raises(ValueError, match="tensor: 300 does not fit the dtype uint8"):
        tensor(np.uint8([1])) + 300


def test_powers_of_integers_are_exact():
    y = tensor([16777217]) ** 1
    assert (y.dtype, y.item()) == (np.int64, 16777217)
    assert (tensor([2]) ** -1).item() == 0.5


def test_integers_carry_no_gradient():
    x = tensor([1.5], requires_grad=True)
    assert not x.to("int64").requires_grad
    assert x.to(np.float64).requires_grad
    with pytest.raises(ValueError, match="to: expected a device such as 'cpu' or a dtype, got 'gpu'"):
        x.to("gpu")


def test_numpy_arrays_mix_in_on_both_sides():
    x = tensor([1.0, 2.0], requires_grad=True)
    a = np.array([3.0, 4.0], np.float32)
    for y in (a * x, x * a):
        assert isinstance(y, Tensor)
        np.testing.assert_array_equal(y.data, [3, 8])


def test_array_protocols():
    x = tensor([[1.0, 2.0]])
    assert np.asarray(x) is x.data or np.shares_memory(np.asarray(x), x.data)
    np.testing.assert_array_equal(np.from_dlpack(x), x.data)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert float(tensor([2.5])) == 2.5
    assert int(tensor(3)) == 3
    assert [row.shape for row in x] == [(2,)]
    assert pickle.loads(pickle.dumps(x.numpy())).tolist() == [[1.0, 2.0]]


def test_comparisons():
    x = tensor([1.0, 2.0])
    assert (x > 1.5).data.tolist() == [False, True]
    assert (x == x).data.all()
    assert (x <= tensor([1.0, 1.0])).data.tolist() == [True, False]
    assert x.argmax().item() == 1
    assert tensor([[1.0, 3.0], [2.0, 0.0]]).argmax(0).data.tolist() == [1, 0]
    with pytest.raises(ValueError, match="item: the tensor must have one element"):
        bool(x)
    for other in (tensor([1.0, 2.0, 3.0]), None):
        with pytest.raises(ValueError, match=r"comparison: a tensor \(2,\) < .* has no meaning"):
            x < other  # noqa: B015  (the comparison is what raises)
    with pytest.raises(ValueError, match="max: dim must be in"):
        x.argmax(5)


def test_unknown_device():
    with pytest.raises(
        ValueError, match="device must be 'cpu', 'cuda', 'cuda:N' or 'meta', got 'cuda:first'"
    ):
        tensor([1.0]).to("cuda:first")
    with pytest.raises(TypeError, match=r"minicnn computes on NumPy and CuPy arrays, got builtins\.list"):
        Tensor([1.0])


# Gradients


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4))
def test_broadcasting_sums_gradients_back(shapes):
    a_shape, b_shape = shapes.input_shapes
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=a_shape), rng.normal(size=b_shape)
    g = rng.normal(size=shapes.result_shape)
    ta, tb = tensor(a, requires_grad=True), tensor(b, requires_grad=True)
    (ta * tb).backward(g)
    for found, shape, other in ((ta.grad, a_shape, b), (tb.grad, b_shape, a)):
        full = g * np.broadcast_to(other, g.shape)
        expected = np.zeros(shape)
        for at in np.ndindex(*g.shape):  # each element of g goes to the one it was computed from
            tail = at[len(at) - len(shape) :]
            expected[tuple(0 if n == 1 else i for i, n in zip(tail, shape, strict=True))] += full[at]
        assert found.shape == shape
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_gradients_accumulate_over_calls():
    x = tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad, [9, 9])


def test_a_leaf_is_its_own_graph():
    x = tensor([1.0, 2.0], requires_grad=True)
    g = np.array([3.0, 4.0], np.float32)
    x.backward(g)
    x.backward(g)
    np.testing.assert_array_equal(x.grad, [6, 8])
    np.testing.assert_array_equal(g, [3, 4])


def test_non_scalar_backward_takes_any_cotangent():
    x = tensor(np.ones((2, 3)), requires_grad=True)
    g = np.arange(6.0).reshape(2, 3)
    (x * 2).backward(Tensor(g))
    np.testing.assert_array_equal(x.grad, 2 * g)


def test_cotangent_of_the_wrong_shape():
    x = tensor(np.ones((2, 3)), requires_grad=True)
    with pytest.raises(ValueError, match=r"gradient must have the tensor's shape \(2, 3\), got \(3,\)"):
        (x * 2).backward(np.ones(3))
    with pytest.raises(ValueError, match="only a tensor of one element has an implicit gradient"):
        (x * 2).backward()
    assert x.grad is None


def test_second_backward_is_an_error():
    x = tensor([1.0], requires_grad=True)
    y = (x * x).exp()
    y.backward()
    with pytest.raises(RuntimeError, match="the graph behind this tensor was freed by an earlier backward"):
        y.backward()
    np.testing.assert_allclose(x.grad, [2 * np.e], rtol=1e-6)


def test_second_backward_through_a_shared_part_is_an_error():
    x = tensor([1.0], requires_grad=True)
    shared = x * 2
    a, b = shared * 3, shared * 4
    a.backward()
    with pytest.raises(RuntimeError, match="Multiply"):
        b.backward()


def test_backward_of_a_constant_is_an_error():
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        (tensor([1.0]) * 2).backward()


def test_requires_grad_is_for_leaves():
    x = tensor([1.0], requires_grad=True)
    y = x * 2
    with pytest.raises(ValueError, match="made by Multiply"):
        y.requires_grad = False
    assert y.detach().is_leaf
    assert not y.detach().requires_grad


def test_constants_get_no_gradient_and_cost_no_work():
    asked = []

    class Product(Function):
        def forward(self, a, b):
            return a * b

        def backward(self, g):
            asked.append(self.needs)
            return g, g

    a, b = tensor([1.0], requires_grad=True), tensor([2.0])
    Product()(a, b).backward()
    assert asked == [(True, False)]
    assert b.grad is None


# Ownership: in place only where the engine owns the sum


@pytest.mark.parametrize("n", [2, 3, 4])
def test_aliased_gradients_are_not_written_to(n):
    """Several branches pass on one array g; the sums they go into must not touch it, nor each other."""
    x = tensor(np.ones(3), requires_grad=True)
    y = x * 1
    branches = [Pass()(y) for _ in range(n)]
    total = branches[0]
    for branch in branches[1:]:
        total = Both()(total, branch)
    g = np.array([1.0, 2.0, 3.0])
    total.backward(g)
    np.testing.assert_array_equal(x.grad, n * np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(g, [1, 2, 3])


def test_one_array_for_two_inputs_with_more_to_come():
    """Both's two gradients are one array; each then gets more, and neither may see the other's share."""
    a, b = tensor(np.ones(2), requires_grad=True), tensor(np.ones(2), requires_grad=True)
    u, v = a * 1, b * 1
    (Both()(u, v) + u * 10 + v * 100).backward(np.ones(2))
    np.testing.assert_array_equal(a.grad, [11, 11])
    np.testing.assert_array_equal(b.grad, [101, 101])


def test_a_leafs_own_gradient_transposed_may_be_added_to_it():
    """So large that the sum is made in pieces, each of which would read what another has written."""
    x = tensor(np.zeros((1300, 1300)), requires_grad=True)
    x.grad = grad = np.arange(x.size, dtype=float).reshape(x.shape)
    expected = grad + grad.T
    x.reshape(*x.shape).backward(grad.T)
    np.testing.assert_array_equal(x.grad, expected)


def test_leaf_gradients_are_not_shared():
    a, b = tensor(np.ones(2), requires_grad=True), tensor(np.ones(2), requires_grad=True)
    Both()(a, b).backward(np.ones(2))
    a.grad += 1
    np.testing.assert_array_equal(b.grad, [1, 1])


def test_an_array_that_a_function_keeps_is_not_written_to():
    class Linear(Function):
        def __init__(self, slope):
            self.slope = slope

        def forward(self, x):
            return x * self.slope

        def backward(self, g):
            return self.slope if (g == 1).all() else g * self.slope

    slope = np.array([2.0, 3.0])
    x = tensor(np.ones(2), requires_grad=True)
    for _ in range(2):
        Linear(slope)(x).backward(np.ones(2))
    z = x * 1
    (Linear(slope)(z) + Linear(slope)(z)).sum().backward()
    np.testing.assert_array_equal(slope, [2, 3])
    np.testing.assert_array_equal(x.grad, [8, 12])


def test_an_index_may_be_reused_after_the_forward_pass():
    index = np.array([0, 1])
    x = tensor(np.ones(3), requires_grad=True)
    y = x[index]
    index[:] = 2
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1, 0])


def test_running_statistics_may_change_before_backward():
    mean, var = np.zeros(1), np.ones(1)
    x, w = tensor(np.full((2, 1), 3.0)), tensor(np.ones(1), requires_grad=True)
    y = F.batch_norm(x, mean, var, w, eps=0.0)
    mean[:] = var[:] = 100
    y.sum().backward()
    np.testing.assert_array_equal(w.grad, [6])


def test_accumulation_is_in_place():
    """The third and later gradients of one place are added without a new array."""
    x = tensor(np.ones(1 << 16), requires_grad=True)
    y = x * 1
    total = y * 1
    for _ in range(20):
        total = total + y * 2
    tracemalloc.start()
    total.backward(np.ones(1 << 16))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * x.data.nbytes


# Custom functions are held to the contract


def test_a_forward_without_return():
    class Forgetful(Function):
        def forward(self, x):
            x + 1

    with pytest.raises(RuntimeError, match="Forgetful: forward must return an array, got None"):
        Forgetful()(tensor([1.0]))


def test_wrong_number_of_gradients():
    class Wrong(Function):
        def forward(self, a, b):
            return a + b

        def backward(self, g):
            return g

    x = tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="Wrong: backward must return one gradient an input, got 1 for 2"):
        Wrong()(x, x).backward()


def test_gradients_may_come_as_a_list():
    class Add(Function):
        def forward(self, a, b):
            return a + b

        def backward(self, g):
            return [g, 2 * g]

    a, b = tensor([1.0], requires_grad=True), tensor([1.0], requires_grad=True)
    Add()(a, b).backward()
    assert (a.grad, b.grad) == (1, 2)


def test_wrong_shape_of_gradient():
    class Wrong(Function):
        def forward(self, a):
            return a.sum()

        def backward(self, g):
            return g

    x = tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(
        RuntimeError, match=r"Wrong: the gradient of input 0 must have its shape \(2,\), got \(\)"
    ):
        Wrong()(x).backward()


def test_an_instance_stands_for_one_call():
    f = Pass()
    f(tensor([1.0]))
    with pytest.raises(RuntimeError, match="Pass: an instance stands for one call"):
        f(tensor([1.0]))


def test_unwritten_methods_are_named():
    with pytest.raises(NotImplementedError, match="Function defines no forward"):
        Function()(tensor([1.0]))


def test_operator_names_are_taken_once():
    with pytest.raises(TypeError, match="the operator 'add' is taken"):

        class Again(Function, operator="add"):
            pass


# no_grad


def test_no_grad_as_block_and_decorator():
    x = tensor([1.0], requires_grad=True)

    @no_grad()
    def double():
        return x * 2

    with no_grad():
        with no_grad():
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert not double().requires_grad
    assert double() is not double()
    assert (x * 2).requires_grad
    with pytest.raises(ZeroDivisionError), no_grad():
        1 / 0  # noqa: B018
    assert minicnn.is_grad_enabled()


def test_a_mode_may_be_entered_again_inside_itself():
    mode = no_grad()
    with mode:
        with mode:
            pass
        assert not minicnn.is_grad_enabled()
    assert minicnn.is_grad_enabled()


def test_a_decorated_function_may_run_in_several_threads_at_once():
    """Each call restores the mode of its own thread, whatever the order in which they end."""
    both_inside, modes = threading.Barrier(2, timeout=10), {}

    @no_grad()
    def wait_inside():
        both_inside.wait()
        assert not minicnn.is_grad_enabled()

    def recording():
        wait_inside()
        modes["recording"] = minicnn.is_grad_enabled()

    def silent():
        with no_grad():
            wait_inside()
            modes["silent"] = minicnn.is_grad_enabled()

    threads = [threading.Thread(target=f) for f in (recording, silent)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert modes == {"recording": True, "silent": False}


def test_no_grad_holds_for_its_thread_only():
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(minicnn.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_gradients_overflow_without_a_warning():
    """Between the functions too: in a sum, in a leaf's sum, and where a gradient is converted."""
    x = tensor([1.0], requires_grad=True)
    y = x * 1
    (y + y).backward(np.array([3e38]))
    assert x.grad.item() == np.inf
    x.grad[...] = 3e38
    (x * 1).backward(np.array([3e38]))
    assert x.grad.item() == np.inf
    x.grad = None
    x.to("float64").backward(np.array([-1e300]))
    (x * 1).backward(np.array([1e300]))
    assert np.isnan(x.grad.item())


# Depth, width, memory


def test_a_chain_of_20000():
    x = tensor([1.0], requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + 1e-3
    y.backward()
    np.testing.assert_array_equal(x.grad, [1])


def test_a_deep_graph_that_is_dropped_unwalked():
    x = tensor([1.0], requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y * 1.0
    last = weakref.ref(y.creator)
    del y
    assert last() is None


def test_one_tensor_used_1000_times():
    x = tensor(np.arange(3.0), requires_grad=True)
    total = x * 0
    for i in range(1000):
        total = total + x * i
    total.sum().backward()
    np.testing.assert_allclose(x.grad, np.full(3, 1000 * 999 / 2))


def visits(blocks):
    """Function calls that backward makes on a chain of residual blocks y = y + f(y)."""
    count = 0

    class Counted(Function):
        def forward(self, x):
            return x * 0.5

        def backward(self, g):
            nonlocal count
            count += 1
            return g * 0.5

    x = tensor([1.0], requires_grad=True)
    y = x
    for _ in range(blocks):
        y = y + Counted()(y)
    y.backward()
    np.testing.assert_allclose(x.grad, [1.5**blocks], rtol=1e-4)
    return count


def test_residual_chains_take_linear_time():
    """A walk that followed every path would make 2⁶⁰ visits."""
    assert visits(60) == 60


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("walk", [True, False])
def test_reference_counting_frees_the_graph(walk):
    """No cycles: every intermediate array is gone without the collector, walked or not."""
    x = tensor(np.ones((4, 3, 8, 8)), requires_grad=True)
    w = tensor(np.ones((2, 3, 3, 3)), requires_grad=True)
    kept = []

    def forward():
        y = F.relu(F.conv2d(x, w))
        kept.append(weakref.ref(y.creator))
        kept.append(weakref.ref(y.data))
        z = F.max_pool2d(y, 2).exp().mean()
        kept.append(weakref.ref(z.creator))
        return z

    forward().backward()  # what is found out once a process, such as the BLAS library, may leave cycles
    gc.collect()
    kept.clear()
    loss = forward()
    if walk:
        loss.backward()
    del loss
    assert [ref() for ref in kept] == [None] * 3
    assert gc.collect() == 0


@pytest.mark.usefixtures("no_collector")
def test_backward_frees_as_it_goes():
    """Peak memory of backward stays near what forward kept, however long the chain."""
    n, layers = 1 << 16, 40
    x = tensor(np.ones(n), requires_grad=True)
    tracemalloc.start()
    y = x
    for _ in range(layers):
        y = y.exp() * 0.1
    saved, _ = tracemalloc.get_traced_memory()
    y.backward(np.ones(n))
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < saved + 5 * x.data.nbytes
    del y
    assert after < saved / 4


def test_inputs_are_not_kept_where_backward_needs_none():
    """exp keeps its output only: the sum it was given is free at once."""
    x = tensor(np.ones(10), requires_grad=True)
    y = x + 1
    array = weakref.ref(y.data)
    z = y.exp()
    del y
    assert array() is None
    z.sum().backward()


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.sampled_from("+*p")), max_size=12))
def test_random_graphs_match_forward_differences(steps):
    """Random graphs with reuse: the gradient of a polynomial by dual numbers, exactly."""
    values = [tensor(2.0, dtype="float64", requires_grad=True), tensor(3.0, dtype="float64")]
    duals = [(2.0, 1.0), (3.0, 0.0)]
    for i, j, kind in steps:
        (a, da), (b, db) = duals[i % len(duals)], duals[j % len(duals)]
        s, t = values[i % len(values)], values[j % len(values)]
        if kind == "+":
            values.append(s * 0.5 + t)
            duals.append((0.5 * a + b, 0.5 * da + db))
        elif kind == "*":
            values.append(s * t * 0.1)
            duals.append((0.1 * a * b, 0.1 * (da * b + a * db)))
        else:
            values.append(Pass()(s))
            duals.append((a, da))
    if values[-1].requires_grad and values[-1].creator is not None:
        values[-1].backward()
        found = 0.0 if values[0].grad is None else float(values[0].grad)
        np.testing.assert_allclose(found, duals[-1][1], rtol=1e-9, atol=1e-12)
