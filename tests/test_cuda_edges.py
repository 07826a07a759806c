"""The cuda device where one does not look: on a GPU that is not current, between devices, out of memory."""

import copy

import numpy as np
import pytest
from standin import transfers

import minicnn
from minicnn import Tensor, backend, models, nn, optim, tensor
from minicnn import functional as F
from minicnn.models import to_fully_convolutional
from minicnn.study import summary
from minicnn.testing import gradcheck, slim

pytestmark = pytest.mark.usefixtures("cuda")

AWAY = "cuda:1"  # while CuPy's current device is 0


def seen(x):
    array = x.data if isinstance(x, Tensor) else x
    return backend.of(array).to_numpy(array)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def network(device=AWAY):
    minicnn.manual_seed(0)
    layers = (
        nn.Conv2d(2, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.Conv2d(3, 2, 1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    return nn.Sequential(*layers).to(device)


def with_gradients(device=AWAY):
    model = network(device)
    model(tensor(numbers(2, 2, 4, 4), device=device)).sum().backward()
    return model


# On a GPU that is not the current one


@pytest.mark.parametrize("zero", ["the optimiser's", "the module's"])
def test_gradients_are_made_zeros_where_they_are(zero):
    model = with_gradients()
    (model if zero == "the module's" else optim.SGD(model.parameters(), lr=0.1)).zero_grad(set_to_none=False)
    for p in model.parameters():
        assert backend.device_of(p.grad) == AWAY
        assert not seen(p.grad).any()


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_what_is_loaded_is_converted_where_it_goes(dtype):
    there, other = network(), network("cuda:0").to(dtype)
    other[4].bias.data += 1
    there.load_state_dict(other.state_dict())
    assert {p.device for p in there.parameters()} == {AWAY}
    for mine, theirs in zip(there.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(seen(mine), seen(theirs).astype(np.float32))


def test_an_optimisers_memories_are_loaded_to_where_the_parameters_are():
    ends = []
    for device in ("cpu", AWAY):
        model = with_gradients(device)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        optimizer.step()
        other = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        other.load_state_dict(optimizer.state_dict())
        other.step()
        assert {backend.device_of(s["momentum_buffer"]) for s in other.state.values()} == {device}
        ends.append([seen(p) for p in model.parameters()])
    for there, here in zip(*reversed(ends), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)


def test_dtypes_are_converted_where_the_array_is():
    assert network().to("float64")[0].weight.device == AWAY
    whole = tensor([1.5, -2.0], device=AWAY).to("int64")
    assert (whole.device, seen(whole).tolist()) == (AWAY, [1, -2])


def test_a_leafs_gradient_is_kept_where_it_is():
    x = tensor([1.0, 2.0], device=AWAY, requires_grad=True)
    for _ in range(2):
        x.backward(tensor([3.0, 4.0], device=AWAY))
    assert backend.device_of(x.grad) == AWAY
    np.testing.assert_array_equal(seen(x.grad), [6.0, 8.0])


def test_the_squared_difference():
    loss = F.mse_loss(tensor([1.0, 2.0], device=AWAY), tensor([3.0, 2.0], device=AWAY))
    assert loss.item() == 2.0


def test_a_fused_network():
    model = with_gradients().eval()
    x = tensor(numbers(2, 2, 4, 4, seed=1), device=AWAY)
    fused = nn.fuse(model, (2, 4, 4))
    assert isinstance(fused[1], nn.Identity)
    np.testing.assert_allclose(seen(fused(x)), seen(model(x)), rtol=1e-5, atol=1e-6)


def test_a_summary():
    rows = summary(network(), (2, 4, 4)).rows
    assert [row.output_shape for row in rows] == [(3, 2, 2), (3, 2, 2), (2, 2, 2), (8,), (2,)]


def test_a_fully_convolutional_network():
    model = slim(models.alexnet(), 64, generator=np.random.default_rng(0)).to(AWAY)
    dense = to_fully_convolutional(model.eval())
    assert {p.device for p in dense.parameters()} == {AWAY}
    x = tensor(numbers(1, *model.input_shape), device=AWAY)
    np.testing.assert_allclose(seen(dense(x)), seen(model(x)), rtol=1e-3, atol=1e-4)


def test_lenet5_as_in_the_paper():
    losses = []
    for device in ("cpu", AWAY):
        minicnn.manual_seed(0)
        model = models.lenet5(variant="paper").to(device)
        images, labels = tensor(numbers(2, 1, 32, 32), device=device), tensor([3, 1], device=device)
        loss = model.loss(model(images), labels)
        loss.backward()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


# Memory layout


def test_deep_copies_lie_in_memory_as_the_original_and_share_what_it_shares():
    model = network()
    model.same = model[0].weight
    twin = copy.deepcopy(model)
    assert twin.same is twin[0].weight is not model[0].weight
    for mine, theirs in zip(twin.parameters(), model.parameters(), strict=True):
        assert (type(mine), mine.device) == (nn.Parameter, AWAY)
        assert not backend.of(mine.data).may_share_memory(mine.data, theirs.data)
        np.testing.assert_array_equal(seen(mine), seen(theirs))
    assert twin[0].weight.data.strides == model[0].weight.data.strides
    assert not twin[0].weight.data.flags.c_contiguous


def test_fused_weights_are_in_channels_last_memory():
    fused = nn.fuse(network().eval(), (2, 4, 4))
    assert fused[0].weight.data.transpose(0, 2, 3, 1).flags.c_contiguous


# Two devices


def stepped(make, *devices):
    parameters = [tensor([1.0, 2.0], device=device, requires_grad=True) for device in devices]
    for p in parameters:
        (p * p).sum().backward()
    make(parameters)


def added_to(x, grad):
    x.grad = grad
    (x * x).sum().backward()


TWO = {
    "Add": lambda a, b: a(2) + b(2),
    "comparison": lambda a, b: a(2) < b(2),
    "GetItem": lambda a, b: a(3)[b(2) > 0],
    "backward": lambda a, b: (a(2) * 2).backward(b(2)),
    "backward of an array": lambda a, b: (a(2) * 2).backward(b(2).data),
    "backward to a gradient elsewhere": lambda a, b: added_to(a(2), b(2).data),
    "mse_loss": lambda a, b: F.mse_loss(a(2), b(2)),
    "nll_loss": lambda a, b: F.nll_loss(a(1, 2), b(1).detach().to("int64")),
    "batch_norm": lambda a, b: F.batch_norm(a(2, 2), b(2).detach(), b(2).detach()),
    "clip_grad_norm_": lambda a, b: stepped(
        lambda p: nn.utils.clip_grad_norm_(p, 1.0), a(1).device, b(1).device
    ),
    "GradScaler.unscale_": lambda a, b: stepped(
        lambda p: minicnn.GradScaler().unscale_(optim.SGD(p, lr=0.1)), a(1).device, b(1).device
    ),
    "SGD.step": lambda a, b: stepped(lambda p: optim.SGD(p, lr=0.1).step(), a(1).device, b(1).device),
}


@pytest.mark.parametrize(
    ("what", "devices"),
    [
        (what, devices)
        for what in TWO
        for devices in (("cuda:0", "cuda:1"), ("cuda:1", "cpu"), ("cpu", "cuda:0"))
        if (what, devices[1]) != ("GetItem", "cpu")  # an index may come from the host
    ],
)
def test_arrays_of_two_devices_are_refused_by_the_operations_name(what, devices):
    first, second = sorted(devices, reverse=True)
    message = rf"^{what.split()[0]}: the arrays must be on one device, got some on '{first}' and some on '{second}'$"
    a, b = (
        lambda *shape, device=device: tensor(np.ones(shape, np.float32), device=device, requires_grad=True)
        for device in devices
    )
    with pytest.raises(TypeError, match=message):
        TWO[what](a, b)


@pytest.mark.parametrize(
    "index", [np.array([1, 0, 1]), np.array([True, False]), (slice(None), np.array([0]))]
)
def test_an_index_may_come_from_the_host(index):
    x, found = numbers(2, 2), []
    for device in ("cpu", AWAY):
        t = tensor(x, device=device, requires_grad=True)
        transfers.clear()
        y = t[index]
        assert any(kind == "to device" for kind, *_ in transfers) is (device == AWAY)
        (y * y).sum().backward()
        found.append([seen(y), seen(t.grad)])
    for there, here in zip(*reversed(found), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-6)


@pytest.mark.parametrize("number", [np.float32(2), np.int64(3), np.float64(0.5), np.bool_(True)])
def test_numpys_numbers_are_at_home_on_every_device(number):
    x = tensor([1.0, 2.0], device=AWAY)
    transfers.clear()
    y = number * x + number
    assert not transfers
    here = number * tensor([1.0, 2.0]) + number
    assert (y.device, y.dtype) == (AWAY, here.dtype)
    np.testing.assert_array_equal(seen(y), here.data)


def test_gradcheck_wants_its_tensors_on_the_cpu():
    x = tensor(np.ones(2), device=AWAY, requires_grad=True)
    with pytest.raises(
        ValueError, match="gradcheck: input 0 must be on the CPU, got one on cuda:1; let the function"
    ):
        gradcheck(F.tanh, [x])
    assert gradcheck(lambda x: F.tanh(x.to(AWAY)).cpu(), [tensor(np.ones(2), requires_grad=True)])


# Memory


RULES = {
    "Adam": lambda p: optim.Adam(p, weight_decay=0.1),
    "AdamW": lambda p: optim.AdamW(p, maximize=True),
    "RMSprop": lambda p: optim.RMSprop(p, centered=True, momentum=0.5),
    "Adagrad": lambda p: optim.Adagrad(p, weight_decay=0.1),
}


@pytest.mark.parametrize("rule", RULES)
def test_an_optimiser_without_memory_changes_nothing(cuda, rule):
    """Not the small parameter either, which comes first and for which there is room."""
    parameters = [tensor(numbers(n), device="cuda", requires_grad=True) for n in (4, 3000)]
    optimizer = RULES[rule](parameters)
    for p in parameters:
        p.grad = p.data.copy()
    optimizer.step()

    def state():
        memories = [one for entry in optimizer.state.values() for one in entry.values()]
        return [seen(p) for p in parameters] + [one if type(one) is int else seen(one) for one in memories]

    before, pool = state(), cuda.get_default_memory_pool()
    for room in (4096, 4096 + 12288):  # for no array like the large parameter, and for one
        pool.free_all_blocks()
        pool.set_limit(pool.used_bytes() + room)
        with pytest.raises(MemoryError, match=rf"^{rule}\.step: cuda:0 is out of memory"):
            optimizer.step()
        for now, then in zip(state(), before, strict=True):
            np.testing.assert_array_equal(now, then)
    pool.set_limit(0)
    optimizer.step()
    assert {entry["step"] for entry in optimizer.state.values()} == {2}
