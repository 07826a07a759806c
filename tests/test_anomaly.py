"""detect_anomaly names the first operation that yields NaN or Inf, what went in, and where it was called."""

import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import minicnn
from minicnn import (
    AnomalyError,
    Function,
    Tensor,
    detect_anomaly,
    models,
    nn,
    no_grad,
    poison_workspace,
    tensor,
)
from minicnn import functional as F
from minicnn.backend import cpu
from minicnn.debug.extent import Extent, Odd
from minicnn.observer import current

HERE = __file__


def leaf(*values, dtype=np.float32):
    return Tensor(np.array(values, dtype), requires_grad=True)


def caught(run, **options):
    """The lines of the error that run() raises inside the mode."""
    with pytest.raises(AnomalyError) as error, detect_anomaly(**options):
        run()
    return str(error.value).split("\n  ")


class Faulty(Function):
    """y = x; backward gives what it was told to."""

    def __init__(self, value):
        self.value = value

    def forward(self, x):
        return x

    def backward(self, g):
        dx = g.copy()
        dx[1] = self.value
        return dx


# Forward


def test_an_output_is_named_with_ranges_and_place():
    def take_the_logarithm():
        return tensor([[2.0, 0.0], [-1.0, 0.0]]).log()  # the place

    headline, output, given, place, *around = caught(take_the_logarithm)
    assert headline == "Log, forward: NaN and -Inf in the output: 3 of 4 elements, the first at (0, 1)"
    assert output == "output: float32 (2, 2), 0.6931 … 0.6931, 1 NaN, 2 -Inf"
    assert given == "input 0: float32 (2, 2), -1 … 2"
    number = take_the_logarithm.__code__.co_firstlineno + 1
    source = "return tensor([[2.0, 0.0], [-1.0, 0.0]]).log()  # the place"
    assert place == f"called at {HERE}:{number} in take_the_logarithm: {source}"
    assert " in caught: run()" in around[0]
    assert " in test_an_output_is_named_with_ranges_and_place: headline, output" in around[1]


def test_frames_of_the_package_and_of_others_are_left_out():
    lines = caught(
        lambda: F.conv2d(tensor(np.full((1, 1, 3, 3), 3e38)), tensor(np.full((1, 1, 2, 2), 1.0))) ** 500
    )
    places = [line for line in lines if line.startswith("called at")]
    assert places
    assert all(f"called at {HERE}:" in line for line in places)


def test_of_a_deep_stack_the_innermost_frames_are_shown():
    def deep(n):
        return deep(n - 1) if n else tensor([0.0]).log()

    places = [line for line in caught(lambda: deep(50)) if line.startswith("called at")]
    assert len(places) == 8
    assert all(" in deep: return deep(n - 1) if n else" in place for place in places)


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "-Inf")])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_came_in_with_an_input_is_laid_to_that_input(value, kind, dtype):
    x, bad = Tensor(np.ones((2, 3), dtype)), Tensor(np.array([1, 2, value], dtype))
    headline, output, first, second, *_ = caught(lambda: x * bad)
    assert headline == (
        f"Multiply, forward: {kind} in input 1, not made by an operation in this block: 1 of 3 elements, the first at "
        "(2,)"
    )
    name = np.dtype(dtype).name
    assert output == f"output: {name} (2, 3), 1 … 2, 2 {kind}"
    assert first == f"input 0: {name} (2, 3), 1 … 1"
    assert second == f"input 1: {name} (3,), 1 … 2, 1 {kind}"


def test_an_infinity_that_an_operation_deals_with_is_none_of_ours():
    logits = leaf([1.0, -np.inf, 2.0], [0.0, 1.0, -np.inf])
    with detect_anomaly():
        F.cross_entropy(logits, np.array([0, 1])).backward()
    np.testing.assert_array_equal(logits.grad[[0, 1], [1, 2]], 0)


def test_a_mask_of_infinities_passes_where_allowed_but_nan_does_not():
    x, mask = leaf(1.0, 2.0, 3.0), tensor([0.0, -np.inf, 0.0])
    assert "-Inf in input 1" in caught(lambda: x + mask)[0]
    with detect_anomaly(allow_inf=True):
        F.softmax(x + mask, 0)[0].backward()
        assert tensor([0.0]).log().item() == -np.inf
        assert tensor([1000.0]).exp().item() == np.inf
    assert np.isfinite(x.grad).all()
    headline = caught(lambda: (x + mask) - (x + mask), allow_inf=True)[0]
    assert headline == "Subtract, forward: NaN in the output: 1 of 3 elements, the first at (1,)"
    assert caught(lambda: (x + mask) * 0, allow_inf=True)[0].startswith(
        "Multiply, forward: NaN in the output"
    )


def test_the_first_operation_is_the_one():
    assert caught(lambda: ((leaf(-1.0).sqrt() + 1) * 2).sum().backward())[0].startswith("Sqrt, forward")


def test_whatever_an_operation_takes_and_returns():
    """Views, integers, booleans, no elements, no axes, indices, shapes without values."""
    x = tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
    with detect_anomaly():
        y = x.permute(2, 0, 1)[::2].reshape(-1).max(0).values + x.transpose(0, 1).flatten()[3]
        y.backward()
        assert x.argmax().item() == 23
        assert (tensor([1, 2]) + tensor([3, 4])).numpy().tolist() == [4, 6]
        assert tensor([True, False])[:1].numpy().tolist() == [True]
        assert Tensor(np.array([1j, np.nan]))[:1].numpy().tolist() == [1j]
        assert (Tensor(np.float32(3)) * 2).item() == 6
        assert tensor(np.zeros((0, 3)), requires_grad=True).sum().backward() is None
        assert F.max_pool2d(tensor(np.ones((1, 1, 2, 2))), 2, return_indices=True)[1].item() == 0
        with minicnn.device("meta"):
            net = models.lenet5()
            out = net(Tensor(minicnn.backend.get("meta").zeros((1, 1, 32, 32), np.float32)))
        out.backward(out.detach())
        net(Tensor(minicnn.backend.get("meta").zeros((1, 1, 32, 32), np.float32))).backward(out.detach())


def test_the_line_shown_is_the_one_that_ran_though_the_file_was_read_before(tmp_path):
    file = tmp_path / "notebook.py"

    def place(source):
        file.write_text(source)
        program = {"x": tensor([0.0])}
        return caught(lambda: exec(compile(source, file, "exec"), program))[3]

    assert place("x.log()").endswith("notebook.py:1 in <module>: x.log()")
    assert place("# moved\n\nx.log() + 1").endswith("notebook.py:3 in <module>: x.log() + 1")


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_packages_installed_anywhere_are_left_out(folder):
    program = {"x": tensor([0.0])}
    code = compile("x.log()", f"/somewhere/{folder}/package/module.py", "exec")
    assert not any(folder in line for line in caught(lambda: exec(code, program)))


def test_code_without_a_source_has_a_place_without_a_line():
    program = {"x": tensor([0.0])}
    assert caught(lambda: exec("\nx.log()", program))[3] == "called at <string>:2 in <module>"
    code = compile("x.log()", "made.py", "exec").replace(co_linetable=b"")
    assert caught(lambda: exec(code, program))[3] == "called at made.py:0 in <module>"


def test_of_many_inputs_a_few_are_told_and_the_odd_one():
    tensors = [tensor([float(i)]) for i in range(300)]
    tensors[200] = leaf(np.nan)
    lines = caught(lambda: F.cat(tensors))
    assert "NaN in input 200" in lines[0]
    told = [*(f"input {i}: float32 (1,), {i} … {i}" for i in range(7)), "input 200: float32 (1,), 1 NaN"]
    assert lines[2:11] == [*told, "and 292 more inputs"]
    assert lines[11].startswith("called at")

    def outside(y):
        return caught(lambda: y.backward(np.full(300, np.nan)))

    lines = outside(F.cat([leaf(float(i)) for i in range(300)]))
    assert lines[2:11] == [*(f"input {i}: float32 (1,)" for i in range(8)), "and 292 more inputs"]


# Modules


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3))
        self.heads = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

    def forward(self, x):
        return self.heads[1](self.features(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "where"),
    [("features.2.weight", "features.2 (Conv2d) of Net"), ("heads.1.bias", "heads.1 (Linear) of Net")],
)
def test_the_path_of_modules_and_the_parameter_are_told(name, where):
    net = Net()
    dict(net.named_parameters())[name].data.flat[1] = np.nan
    lines = caught(lambda: net(tensor(np.ones((1, 1, 8, 8)), dtype=np.float32)))
    assert f"NaN in input {2 if 'bias' in name else 1} ({name}), not made by" in lines[0]
    assert f"in {where}" in lines
    assert any(" in forward: return self.heads[1]" in line for line in lines)


def test_a_buffer_is_named_too():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", tensor([np.nan]))

        def forward(self, x):
            return x * self.scale

    assert (
        "NaN in input 1 (1.scale), not made"
        in caught(lambda: nn.Sequential(nn.ReLU(), Scale())(leaf(1.0)))[0]
    )


def test_in_a_model_of_the_package_the_line_is_the_one_that_called_it():
    net = models.lenet5()
    images = tensor(np.full((1, 1, 32, 32), np.nan), dtype=np.float32)

    def classify():
        return net(images)

    lines = caught(classify)
    assert "in c1 (Conv2d) of LeNet5Modern" in lines
    places = [line for line in lines if line.startswith("called at")]
    assert (
        places[0]
        == f"called at {HERE}:{classify.__code__.co_firstlineno + 1} in classify: return net(images)"
    )


def test_an_operation_in_the_model_itself_has_no_path():
    class Root(nn.Module):
        def forward(self, x):
            return x.sqrt()

    assert "in Root" in caught(lambda: Root()(tensor([-1.0])))


def test_a_module_that_calls_itself_is_named_once():
    class Deep(nn.Module):
        def forward(self, x, depth):
            return self(x, depth - 1) if depth else x.log()

    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.deep = Deep()

        def forward(self, x):
            return self.deep(x, 3)

    assert "in Deep" in caught(lambda: Deep()(tensor([0.0]), 3))
    assert "in deep (Deep) of Root" in caught(lambda: Root()(tensor([0.0])))


def test_a_model_called_within_another_that_does_not_hold_it_has_a_path_of_its_own():
    teacher = Net()
    teacher.heads[1].weight.data[0] = np.nan

    class Student(nn.Module):
        def forward(self, x):
            return teacher(x)

    lines = caught(lambda: nn.Sequential(Student())(tensor(np.ones((1, 1, 8, 8)), dtype=np.float32)))
    assert "NaN in input 1 (heads.1.weight), not made" in lines[0]
    assert "in heads.1 (Linear) of Net" in lines


def test_arrays_that_an_operation_was_made_with_are_told_too():
    net = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(2)).eval()
    net[1].running_var.data[1] = np.inf
    net[1].running_mean.data[1] = np.nan
    lines = caught(lambda: net(tensor(np.ones((1, 2, 1, 1)), dtype=np.float32)))
    assert lines[0] == (
        "BatchNormInference, forward: NaN in mean (1.running_mean), not made by an operation in this block: 1 of 2 "
        "elements, the first at (1,)"
    )
    assert "mean: float32 (2,), 0 … 0, 1 NaN" in lines
    assert "var: float32 (2,), 1 … 1, 1 Inf" in lines
    assert "in 1 (BatchNorm2d) of Sequential" in lines


# Backward


def test_a_gradient_is_named_with_the_place_of_the_forward_call():
    x = leaf(4.0, 0.0)

    def forward():
        return x.sqrt()

    def train():
        forward().sum().backward()

    headline, found, upstream, given, place, *around = caught(train)
    assert headline == "Sqrt, backward: Inf in the gradient of input 0: 1 of 2 elements, the first at (1,)"
    assert found == "gradient of input 0: float32 (2,), 0.25 … 0.25, 1 Inf"
    assert upstream == "gradient of the output: float32 (2,), 1 … 1"
    assert given == "input 0: float32 (2,), 0 … 4"
    assert f":{forward.__code__.co_firstlineno + 1} in forward: return x.sqrt()" in place
    assert " in train: forward().sum().backward()" in around[0]


def test_the_gradient_of_a_later_input():
    assert (
        "-Inf in the gradient of input 1: 1 of 1"
        in caught(lambda: (tensor([1e20]) / leaf(1e-10)).backward())[0]
    )


def test_the_path_of_modules_is_told_of_a_backward_too_when_the_model_is_gone():
    class Layer(nn.Module):
        def forward(self, x):
            return Faulty(np.nan)(x)

    lines = caught(lambda: nn.Sequential(nn.ReLU(), Layer())(leaf(1.0, 2.0)).sum().backward())
    assert lines[0].startswith("Faulty, backward: NaN in the gradient of input 0")
    assert "in 1 (Layer) of Sequential" in lines


def test_a_gradient_given_to_backward_is_named_as_such():
    headline, upstream, *_ = caught(lambda: leaf(1.0, 2.0).exp().backward(np.array([1.0, np.nan])))
    assert (
        headline
        == "Exp, backward: NaN in the gradient given to backward(): 1 of 2 elements, the first at (1,)"
    )
    assert upstream == "gradient of the output: float32 (2,), 1 … 1, 1 NaN"


def test_a_sum_of_finite_gradients_is_named_as_such():
    def twice():
        y = leaf(1.0).exp()
        (y + y).backward(np.array([3e38]))

    assert caught(twice)[0].startswith("Exp, backward: Inf in the sum of the output's gradients: 1 of 1")


@pytest.mark.parametrize(
    ("before", "where"),
    [
        (3e38, "Inf in the grad of input 1, once added to"),
        (np.nan, "NaN in the grad of input 1, before adding to it"),
    ],
)
def test_the_grad_of_a_leaf_is_looked_at_too(before, where):
    x = leaf(1.0, 1.0)
    x.grad = np.array([0, before], np.float32)
    headline, grad, added, *_ = caught(lambda: (tensor(1.0) * x).backward(np.array([3e38, 3e38])))
    assert headline == f"Multiply, backward: {where}: 1 of 2 elements, the first at (1,)"
    assert grad.startswith("grad: float32 (2,), 0 …")
    assert added == "added to it: float32 (2,), 3e+38 … 3e+38"
    np.testing.assert_array_equal(x.grad, np.array([0, before], np.float32))  # not added to


def test_a_leaf_used_twice_by_one_operation():
    x = leaf(1.0)
    with detect_anomaly():
        (x * x).backward()
        assert x.grad.item() == 2
    x.grad = None
    assert (
        "Inf in the grad of input 1, once added to: 1 of 1"
        in caught(lambda: (x * x).backward(np.array([3e38])))[0]
    )


def test_gradients_accumulate_as_ever():
    x = leaf(1.0, 2.0)
    with detect_anomaly():
        (x * x).sum().backward()
        (x * 3).sum().backward()
        y = (x * 2).sum()
        y.backward()
        with pytest.raises(RuntimeError, match="freed by an earlier backward"):
            y.backward()
    np.testing.assert_array_equal(x.grad, [7, 9])


def test_an_operation_called_outside_says_so():
    y = leaf(0.0).sqrt()
    headline, _, _, given, place = caught(y.backward)
    assert headline.startswith("Sqrt, backward: Inf")
    assert given == "input 0: float32 (1,)"
    assert place == "called outside detect_anomaly(), so where and from which values is not known"


def test_forward_and_backward_may_be_in_two_blocks():
    with detect_anomaly():
        y = leaf(0.0).sqrt()
    assert " in test_forward_and_backward_may_be_in_two_blocks: y = leaf(0.0).sqrt()" in caught(y.backward)[4]


def test_an_input_that_needs_no_gradient_has_none_to_look_at():
    with detect_anomaly():
        (leaf(2.0) / tensor([1e-25])).backward(np.array([1e-20]))  # the divisor's would overflow


# The mode


def test_outside_the_block_nothing_is_looked_at():
    with detect_anomaly():
        pass
    leaf(0.0).log().backward()
    assert current.observers == ()


def test_it_decorates():
    @detect_anomaly()
    def logarithm(x, depth=0):
        """Take it."""
        return logarithm(x, depth - 1) if depth else x.log()

    assert logarithm.__doc__ == "Take it."
    for _ in range(2):
        assert logarithm(tensor([1.0]), 3).item() == 0
        with pytest.raises(AnomalyError, match="Log, forward"):
            logarithm(tensor([0.0]), 3)
        assert current.observers == ()


def test_blocks_nest_and_the_innermost_decides():
    with detect_anomaly():
        with detect_anomaly(allow_inf=True):
            tensor([0.0]).log()
            assert len(current.observers) == 1
        with pytest.raises(AnomalyError, match="Log"):
            tensor([0.0]).log()
        with pytest.raises(ZeroDivisionError), detect_anomaly(allow_inf=True):
            1 / 0  # noqa: B018
        with pytest.raises(AnomalyError, match="Log"):
            tensor([0.0]).log()
    assert current.observers == ()


def test_without_a_graph_too():
    with no_grad(), pytest.raises(AnomalyError, match="Log, forward"), detect_anomaly():
        leaf(0.0).log()


def test_other_threads_are_not_looked_at():
    seen = []
    with detect_anomaly():
        thread = threading.Thread(target=lambda: seen.append(tensor([0.0]).log().item()))
        thread.start()
        thread.join()
    assert seen == [-np.inf]


def test_a_forward_that_returns_nothing_says_so_here_too():
    class Forgetful(Function):
        def forward(self, x):
            pass

    with detect_anomaly(), pytest.raises(RuntimeError, match="Forgetful: forward must return an array"):
        Forgetful()(tensor([1.0]))


def test_an_operation_that_raises_is_let():
    with detect_anomaly():
        with pytest.raises(ValueError, match="do not broadcast"):
            tensor([1.0, 2.0]) + tensor([1.0, 2.0, 3.0])
        assert (tensor([1.0]) + 1).item() == 2


def test_results_are_the_same_bits():
    def step():
        minicnn.manual_seed(0)
        net = models.lenet5()
        loss = F.cross_entropy(
            net(tensor(np.linspace(0, 1, 2048, dtype=np.float32).reshape(2, 1, 32, 32))), [1, 2]
        )
        loss.backward()
        return [loss.data, *(p.grad for p in net.parameters())]

    expected = step()
    with detect_anomaly():
        found = step()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_kept_alive():
    gc.disable()
    try:
        with detect_anomaly():
            x = leaf(1.0)
            y = x * 2
            seen = [weakref.ref(y.creator), weakref.ref(y.data)]
            z = (y + 1).sum()
            del y
            z.backward()
            del z
            x.exp()
            assert [ref() for ref in seen] == [None, None]
    finally:
        gc.enable()


def test_a_model_that_keeps_its_activations_does_not_live_for_ever():
    """What is noted of an operation must not hold the modules, which may hold the operation."""

    class Keeper(nn.Module):
        def forward(self, x):
            self.kept = x * 2
            return self.kept

    with detect_anomaly():
        net = Keeper()
        net(leaf(1.0))
    seen = weakref.ref(net)
    del net
    gc.collect()
    assert seen() is None


def test_the_error_is_an_arithmetic_one_and_travels():
    assert issubclass(AnomalyError, ArithmeticError)
    with pytest.raises(AnomalyError) as error, detect_anomaly():
        tensor([0.0]).log()
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


@pytest.mark.parametrize("misuse", [lambda: detect_anomaly(print), lambda: detect_anomaly(False)])
def test_a_decorator_without_parentheses_is_refused(misuse):
    with pytest.raises(TypeError, match="positional argument"):
        misuse()


# With poisoned memory


@pytest.mark.parametrize("order", [(poison_workspace, detect_anomaly), (detect_anomaly, poison_workspace)])
def test_an_output_in_poisoned_memory_is_laid_to_its_operation(order):
    class ReturnsScratch(Function):
        def forward(self, x):
            from minicnn.backend.workspace import scratch

            y = scratch("a test", x.shape, x.dtype)
            y[...] = x
            return y

    outer, inner = order
    with (
        pytest.raises(AnomalyError, match="ReturnsScratch, forward: NaN in the output: 2 of 2"),
        outer(),
        inner(),
    ):
        ReturnsScratch()(tensor([1.0, 2.0]))


# What is told of an array


@pytest.mark.parametrize(
    ("array", "text", "odd"),
    [
        (np.float32(3), "float32 (), 3 … 3", {}),
        (np.array(np.nan), "float64 (), 1 NaN", {"NaN": Odd(1, ())}),
        (np.zeros((0, 2)), "float64 (0, 2)", {}),
        (np.array([3, -(2**62)]), "int64 (2,), -4.612e+18 … 3", {}),
        (np.array([[True], [False]]), "bool (2, 1), 0 … 1", {}),
        (np.array([1j]), "complex128 (1,)", {}),
        (np.array([None]), "object (1,)", {}),
        (
            np.array([[np.inf, 1], [-np.inf, np.nan]]).T,
            "float64 (2, 2), 1 … 1, 1 NaN, 1 Inf, 1 -Inf",
            {"NaN": Odd(1, (1, 1)), "Inf": Odd(1, (0, 0)), "-Inf": Odd(1, (0, 1))},
        ),
    ],
)
def test_extent(array, text, odd):
    extent = Extent.of(cpu, np.asarray(array))
    assert str(extent) == text
    assert extent.odd == odd
