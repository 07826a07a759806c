"""Module: what it registers, in which order, and what it does to everything inside it."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest

from minicnn import Tensor, nn, tensor


class Scale(nn.Module):
    """A parameter, a missing parameter, two buffers and a plain attribute."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(tensor([factor]))
        self.register_parameter("offset", None)
        self.register_buffer("calls", tensor([0]))
        self.register_buffer("scratch", tensor([0.0]), persistent=False)
        self.note = "plain"

    def forward(self, x: Tensor, power: int = 1) -> Tensor:
        return x * self.factor**power


class Tree(nn.Module):
    """Parts defined after and between one another, one of them two levels deep."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Sequential(Scale(1.0), nn.Sequential(Scale(2.0)))
        self.weight = nn.Parameter(tensor([3.0]))
        self.a = Scale(4.0)


def names(pairs) -> list[str]:
    return [name for name, _ in pairs]


# What it registers


def test_parameters_come_in_order_of_definition_each_module_before_its_children():
    tree = Tree()
    assert names(tree.named_parameters()) == ["weight", "b.0.factor", "b.1.0.factor", "a.factor"]
    assert [p.item() for p in tree.parameters()] == [3.0, 1.0, 2.0, 4.0]
    assert names(tree.named_parameters(prefix="net", recurse=False)) == ["net.weight"]
    assert [p.item() for p in tree.parameters(recurse=False)] == [3.0]


def test_buffers_children_and_modules():
    tree = Tree()
    assert names(tree.a.named_buffers()) == ["calls", "scratch"]
    assert len(list(tree.buffers())) == 6
    assert names(tree.named_children()) == ["b", "a"]
    assert list(tree.children()) == [tree.b, tree.a]
    assert names(tree.named_modules()) == ["", "b", "b.0", "b.1", "b.1.0", "a"]
    assert names(tree.named_modules("net"))[:2] == ["net", "net.b"]
    assert next(tree.modules()) is tree


def test_none_keeps_the_name_but_is_not_listed():
    scale = Scale()
    assert scale.offset is None
    assert names(scale.named_parameters()) == ["factor"]
    scale.offset = nn.Parameter(tensor([1.0]))
    assert names(scale.named_parameters()) == ["factor", "offset"]
    scale.factor = None
    assert names(scale.named_parameters()) == ["offset"]


def test_a_replaced_part_keeps_its_place():
    tree = Tree()
    tree.b = nn.Linear(1, 1)
    assert names(tree.named_children()) == ["b", "a"]


def test_deleting_forgets_the_name():
    scale = Scale()
    del scale.factor, scale.calls, scale.scratch
    assert names(scale.named_parameters()) == []
    assert names(scale.named_buffers()) == []
    scale.factor = "anything"
    scale.scratch = nn.Parameter(tensor([1.0]))
    assert list(scale.state_dict()) == ["scratch"]


def test_plain_tensors_are_not_registered():
    module = nn.Module()
    module.constant = tensor([1.0])
    assert not list(module.parameters()) + list(module.buffers())


def test_shared_parameters_are_yielded_once():
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert names(tied.named_parameters()) == ["0.weight", "0.bias", "1.bias"]
    both = ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert names(tied.named_parameters(remove_duplicate=False)) == both
    assert list(tied.state_dict()) == both
    tied(tensor([[1.0, 2.0]])).sum().backward()
    assert len([p for p in tied.parameters() if p.grad is not None]) == 3


def test_shared_modules_are_yielded_once_and_applied_twice():
    layer = nn.Linear(3, 3)
    twice = nn.Sequential(layer, layer)
    assert len(list(twice.parameters())) == 2
    assert len(list(twice.children())) == 1
    assert len(list(twice.modules())) == 2
    assert names(twice.named_modules(remove_duplicate=False)) == ["", "0", "1"]
    assert list(twice.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    x = tensor([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(twice(x).data, layer(layer(x)).data)


def test_parameter_keeps_the_array_it_is_given():
    source = tensor([1.0, 2.0])
    parameter = nn.Parameter(source)
    assert parameter.data is source.data
    assert parameter.requires_grad
    assert not nn.Parameter(source.data, requires_grad=False).requires_grad
    assert repr(parameter).startswith("Parameter containing:\ntensor([1., 2.]")


# What it refuses


class Late(nn.Module):
    def __init__(self, part: object) -> None:
        self.part = part
        super().__init__()


@pytest.mark.parametrize("part", [nn.Parameter(tensor([1.0])), nn.ReLU()])
def test_parts_before_init(part):
    with pytest.raises(AttributeError, match=r"Late: call super\(\).__init__\(\) before assigning"):
        Late(part)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("factor", tensor([1.0]), "'factor' is registered as a parameter.*got Tensor"),
        ("factor", nn.ReLU(), "'factor' is registered as a parameter.*got ReLU"),
        ("factor", 3, "'factor' is registered as a parameter.*got int"),
        ("calls", np.zeros(1), "'calls' is registered as a buffer.*got ndarray"),
        ("calls", nn.Parameter(tensor([1.0])), "'calls' is registered as a buffer.*got Parameter"),
        ("child", nn.Parameter(tensor([1.0])), "'child' is registered as a module.*got Parameter"),
    ],
)
def test_another_kind_under_a_registered_name(name, value, message):
    scale = Scale()
    scale.child = nn.ReLU()
    before = getattr(scale, name)
    with pytest.raises(TypeError, match=message):
        setattr(scale, name, value)
    assert getattr(scale, name) is before


@pytest.mark.parametrize("name", ["", "a.b", 3, "forward", "training", "parameters"])
def test_impossible_names(name):
    module = nn.Module()
    with pytest.raises(ValueError, match="Module: a buffer"):
        module.register_buffer(name, tensor([1.0]))
    with pytest.raises(ValueError, match="Module: a parameter"):
        module.register_parameter(name, None)
    with pytest.raises(ValueError, match="Module: a module"):
        module.add_module(name, nn.ReLU())
    assert not module.state_dict()
    assert repr(module) == "Module()"


def test_assigning_a_part_over_a_method():
    module = nn.Module()
    with pytest.raises(ValueError, match="cannot be named 'modules'"):
        module.modules = nn.ModuleList()


@pytest.mark.parametrize(
    ("register", "value"),
    [("register_parameter", tensor([1.0])), ("register_buffer", np.zeros(1)), ("add_module", print)],
)
def test_registering_the_wrong_kind(register, value):
    module = nn.Module()
    with pytest.raises(TypeError, match="Module: 'part' must be a"):
        getattr(module, register)("part", value)
    with pytest.raises(AttributeError):
        module.part  # noqa: B018  (nothing half registered)


def test_registering_a_taken_name_as_another_kind():
    scale = Scale()
    with pytest.raises(ValueError, match="'factor' is registered as a parameter already"):
        scale.register_buffer("factor", None)
    assert scale.factor.item() == 2


def test_a_module_cannot_contain_itself():
    inner, outer = nn.Module(), nn.Module()
    outer.inner = inner
    with pytest.raises(ValueError, match="a part of itself"):
        inner.parent = outer
    with pytest.raises(ValueError, match="a part of itself"):
        inner.me = inner
    assert names(outer.named_modules()) == ["", "inner"]


def test_forward_must_be_defined():
    with pytest.raises(NotImplementedError, match="ModuleList defines no forward"):
        nn.ModuleList()(tensor([1.0]))


# What it does to everything inside it


def test_train_and_eval_reach_every_module():
    tree = Tree()
    assert all(m.training for m in tree.modules())
    assert tree.eval() is tree
    assert not any(m.training for m in tree.modules())
    tree.b.train()
    assert [m.training for m in tree.modules()] == [False, True, True, True, True, False]
    tree.train(False)
    assert not any(m.training for m in tree.modules())


def test_a_module_may_refuse_to_train():
    class Frozen(nn.BatchNorm2d):
        def train(self, mode: bool = True) -> Frozen:
            return super().train(False)

    net = nn.Sequential(nn.ReLU(), Frozen(2)).train()
    assert [m.training for m in net.modules()] == [True, True, False]


def test_zero_grad():
    tree = Tree()
    for p in tree.parameters():
        p.grad = np.ones_like(p.data)
    tree.weight.grad = None
    tree.zero_grad(set_to_none=False)
    assert tree.weight.grad is None
    assert [p.grad.item() for p in tree.parameters() if p is not tree.weight] == [0, 0, 0]
    tree.zero_grad()
    assert all(p.grad is None for p in tree.parameters())


def test_frozen_parameters_get_no_gradient():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert net[0].requires_grad_(False) is net[0]
    net(tensor([[1.0, 2.0]])).sum().backward()
    assert [p.grad is not None for p in net.parameters()] == [False, False, True, True]
    net.requires_grad_()
    assert all(p.requires_grad for p in net.parameters())


def test_apply_visits_children_first():
    visited = []
    tree = Tree()
    assert tree.apply(visited.append) is tree
    assert visited == [tree.b[0], tree.b[1][0], tree.b[1], tree.b, tree.a, tree]


def test_to_converts_float_arrays_and_keeps_tensors_and_layout():
    net = nn.Sequential(nn.Conv2d(2, 3, (3, 2)), nn.BatchNorm2d(3))
    net[0].weight.grad = np.ones_like(net[0].weight.data)
    before = [*net.parameters(), *net.buffers()]
    values = [t.data.copy() for t in before]
    assert net.to("float64") is net
    assert all(a is b for a, b in zip(before, [*net.parameters(), *net.buffers()], strict=True))
    assert [str(t.dtype) for t in before] == ["float64"] * 6 + ["int64"]
    assert net[0].weight.grad.dtype == np.float64
    assert net[0].weight.data.transpose(0, 2, 3, 1).flags.c_contiguous
    for t, value in zip(before, values, strict=True):
        np.testing.assert_array_equal(t.data, value)
    assert net.to("cpu").to(np.float32)[0].weight.dtype == np.float32


@pytest.mark.parametrize("target", ["float46", "int64", np.int32, 7.5, "tpu"])
def test_to_refuses_what_is_neither_a_device_nor_a_float_dtype(target):
    net = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="to: expected a device"):
        net.to(target)
    assert net.weight.dtype == np.float32


def test_copies_are_independent_and_keep_layout():
    net = nn.Sequential(nn.Conv2d(2, 3, (3, 2)), nn.BatchNorm2d(3))
    twin = copy.deepcopy(net)
    assert list(twin.state_dict()) == list(net.state_dict())
    assert twin[0].weight.data.transpose(0, 2, 3, 1).flags.c_contiguous
    twin[0].weight.data[...] = 7
    assert not (net[0].weight.data == 7).any()
    again = pickle.loads(pickle.dumps(net))
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)
    assert isinstance(again[0].weight, nn.Parameter)


def test_deep_nesting():
    net = nn.Sequential(nn.Linear(1, 1))
    for _ in range(150):
        net = nn.Sequential(net)
    assert names(net.named_parameters())[0] == "0." * 151 + "weight"
    assert len(list(net.eval().modules())) == 152
    assert net(tensor([[1.0]])).shape == (1, 1)
    assert repr(net).count("Sequential") == 151


def test_a_module_is_freed_without_the_garbage_collector():
    freed = []

    class Watched(nn.Module):
        def __del__(self) -> None:
            freed.append(True)

    gc.disable()
    try:
        module = Watched()
        module.layer = nn.Linear(2, 2)
        handle = module.register_forward_hook(print)
        del module, handle
        assert freed
    finally:
        gc.enable()


# Hooks


def test_hooks_see_and_change_arguments_and_output():
    scale, seen = Scale(3.0), []
    x = tensor([1.0, 2.0])
    watch = scale.register_forward_hook(lambda module, args, output: seen.append((module, args, output)))
    y = scale(x, power=2)
    assert y.data.tolist() == [9, 18]
    (module, args, output) = seen[0]
    assert module is scale
    assert args[0] is x
    assert output is y

    add = scale.register_forward_pre_hook(lambda module, args: args[0] + 1)
    double = scale.register_forward_hook(lambda module, args, output: output * 2)
    assert scale(x).data.tolist() == [12, 18]
    assert len(seen) == 2
    add.remove()
    assert scale(x).data.tolist() == [6, 12]
    double.remove()
    double.remove()
    watch.remove()
    assert scale(x).data.tolist() == [3, 6]
    assert len(seen) == 3


def test_pre_hooks_may_replace_all_arguments():
    scale = Scale(2.0)
    scale.register_forward_pre_hook(lambda module, args: (args[0], 3))
    assert scale(tensor([1.0])).item() == 8


def test_hooks_run_in_order_and_may_remove_themselves():
    scale, order = Scale(), []

    def once(module, args, output):
        order.append("once")
        handle.remove()

    handle = scale.register_forward_hook(once)
    scale.register_forward_hook(lambda *_: order.append("always"))
    scale(tensor([1.0]))
    scale(tensor([1.0]))
    assert order == ["once", "always", "always"]


def test_a_hook_in_a_with_block():
    scale, seen = Scale(), []
    with scale.register_forward_pre_hook(lambda module, args: seen.append(args)):
        scale(tensor([1.0]))
    scale(tensor([1.0]))
    assert len(seen) == 1


# How it prints


def test_repr():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
            self.pool = nn.MaxPool2d(2)

        def extra_repr(self) -> str:
            return "depth=2"

    assert repr(Block()) == (
        "Block(\n"
        "  depth=2\n"
        "  (convs): Sequential(\n"
        "    (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))\n"
        "    (1): ReLU()\n"
        "  )\n"
        "  (pool): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)\n"
        ")"
    )


# Containers


def test_sequential_indexing():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    net = nn.Sequential(a, b, c)
    assert (net[0], net[-1], len(net), list(net)) == (a, c, 3, [a, b, c])
    assert isinstance(net[1:], nn.Sequential)
    assert list(net[1:]) == [b, c]
    assert names(net[1:].named_children()) == ["1", "2"]
    net[-1] = a
    assert list(net) == [a, b, a]
    assert net.append(c) is net
    assert names(net.named_modules()) == ["", "0", "1", "3"]  # 2 is 0 again
    assert names(net[2:].append(b).named_children()) == ["2", "3", "4"]


def test_a_slice_shares_its_modules():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert net[:1][0].weight is net[0].weight


def test_named_sequential():
    net = nn.Sequential({"fc": nn.Linear(2, 3), "act": nn.ReLU()})
    assert list(net.state_dict()) == ["fc.weight", "fc.bias"]
    assert net.act is net[1]
    net.append(nn.Linear(3, 1))
    assert net(tensor([[1.0, 2.0]])).shape == (1, 1)
    assert names(net.named_children()) == ["fc", "act", "2"]


def test_module_list():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    blocks = nn.ModuleList([a, b]).extend([c])
    assert list(blocks) == [a, b, c]
    assert isinstance(blocks[1:], nn.ModuleList)
    assert names(blocks[1:].named_children()) == ["0", "1"]
    assert list(blocks[::-1]) == [c, b, a]
    assert list(nn.ModuleList([a, a, b])[:2]) == [a, a]


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda net: net[2], IndexError, "index 2 is outside a sequence of 2"),
        (lambda net: net[-3], IndexError, "index -3 is outside a sequence of 2"),
        (lambda net: net["0"], TypeError, "an index must be an int or a slice, got '0'"),
        (lambda net: net.append(print), TypeError, "item 2 must be a Module, got builtin_function"),
        (lambda net: net.__setitem__(0, None), TypeError, "item 0 must be a Module, got NoneType"),
        (lambda net: net.append(net), ValueError, "a part of itself"),
    ],
)
@pytest.mark.parametrize("kind", [lambda *m: nn.Sequential(*m), lambda *m: nn.ModuleList(m)])
def test_containers_refuse(kind, act, error, message):
    net = kind(nn.ReLU(), nn.Tanh())
    before = list(net)
    with pytest.raises(error, match=message):
        act(net)
    assert list(net) == before


def test_sequential_refuses_what_is_no_module():
    with pytest.raises(TypeError, match="Sequential: item 1 must be a Module, got int"):
        nn.Sequential(nn.ReLU(), 5)
    with pytest.raises(TypeError, match="Sequential: item f must be a Module, got builtin"):
        nn.Sequential({"f": len})
