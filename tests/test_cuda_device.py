"""Whole networks on the cuda device: they train as on the CPU, and what goes wrong there is told."""

from itertools import islice

import numpy as np
import pytest
from standin import launches, transfers

import minicnn
from minicnn import Tensor, backend, data, models, nn, no_grad, optim, tensor, training
from minicnn import functional as F
from minicnn.backend import cpu
from minicnn.data import Dataset
from minicnn.testing import slim

pytestmark = pytest.mark.usefixtures("cuda")


def gpu():
    return backend.get("cuda")


def seen(x):
    """Return what a tensor or an array holds, wherever it is."""
    array = x.data if isinstance(x, Tensor) else x
    return backend.of(array).to_numpy(array)


def noise(count):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 1, 32, 32)).astype(np.float32), rng.integers(10, size=count)


def loss_curve(device, steps, optimizer, batch=12):
    """Train LeNet-5 on digits and return the loss of each step."""
    minicnn.manual_seed(3)
    train, _ = data.load("mnist5k")
    model = models.lenet5().to(device)
    step, transform = optimizer(model.parameters()), training.prepare(model, train)
    batches = data.DataLoader(train, batch_size=batch, shuffle=True, transform=transform)
    losses = []
    for images, labels in islice(batches, steps):
        loss = model.loss(model(images.to(device)), labels.to(device))
        step.zero_grad()
        loss.backward()
        step.step()
        losses.append(loss.item())
    return losses


# Sums


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "shape", [(2, 3, 4, 5), (3, 35, 41, 50), (2, 3, 2050), (2, 3, 2, 3, 4), (2, 3), (0, 3, 4, 5)]
)
def test_a_channel_s_sum_is_rounded_once(cuda, dtype, shape):
    """The pixels are ones, and no half is 6150, 4100, or an odd number of thousands."""
    x = cuda.ones(shape, dtype)
    launches.clear()
    found = gpu().channel_sum(x)
    kernels = [launch.name for launch in launches if launch.kind == "kernel"]
    assert any("conv2d_backward_bias" in name for name in kernels) == (x.ndim > 2 and x.size > 0)
    assert found.dtype == x.dtype
    count = np.float32(x.size // shape[1])
    assert seen(found).tolist() == [float(count.astype(found.dtype))] * shape[1]


# Elements


def test_elementwise_work_goes_through_images_in_the_order_of_memory():
    """As CuPy does not by itself: its threads follow the axes."""
    be, pieces = gpu(), []
    images = be.full_images(2, 3, 4, 5, np.float32, 1.0)
    bias = be.arange(3, dtype=np.float32)
    y = be.in_pieces(
        lambda *arrays: (pieces.append(arrays), be.add(*arrays[:2], out=arrays[2])),
        images,
        bias,
        be.empty_like(images),
    )
    assert all(array.flags.c_contiguous for array in pieces[0])
    assert seen(y).transpose(0, 2, 3, 1).reshape(-1, 3).tolist() == [[1, 2, 3]] * 40
    rows = be.zeros((2, 3, 4, 5), np.float32)
    for given, options in (((rows, bias, rows), {}), ((images, bias, y), {"whole": 1})):
        be.in_pieces(lambda *arrays: pieces.append(arrays), *given, **options)
        assert [array.shape for array in pieces[-1]] == [(2, 3, 4, 5), (3, 1, 1), (2, 3, 4, 5)]


# Moving


def test_it_offers_whatever_the_cpu_offers():
    names = {name for name in vars(cpu) if not name.startswith("_")} - {"np", "Any", "annotations"}
    assert names <= set(vars(gpu()))


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2), (3, 1, 0, 2)])
def test_there_and_back_an_array_keeps_its_layout(axes):
    x = np.arange(120.0).reshape(2, 3, 4, 5).transpose(axes)
    moved = Tensor(x).to("cuda")
    assert moved.device == "cuda:0"
    assert moved.data.strides == x.strides
    back = moved.cpu()
    np.testing.assert_array_equal(back.data, x)
    assert back.data.strides == x.strides
    assert moved.to("cuda") is moved
    assert moved.to("cuda:0") is moved
    assert back.cpu() is back


def test_a_gradient_goes_back_to_where_its_input_is():
    x = tensor([1.0, 2.0], requires_grad=True)
    there = x.cuda()
    y = (there * there).to("cuda:1").cpu() * tensor([1.0, 10.0])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [2.0, 40.0])
    assert not there.is_leaf


def test_a_tensor_made_there_says_so():
    x = tensor([1.5, 2.0], device="cuda:1", requires_grad=True)
    assert x.device == "cuda:1"
    assert repr(x) == "tensor([1.5, 2. ], dtype=float32, device='cuda:1', requires_grad=True)"
    with minicnn.device("cuda:1"):
        layer = nn.BatchNorm2d(2)
        assert {t.device for t in (*layer.parameters(), *layer.buffers())} == {"cuda:1"}
    assert nn.Linear(2, 2, device="cuda").weight.device == "cuda:0"


def test_a_copy_of_an_array_there_stays_there(cuda):
    with cuda.cuda.Device(1):
        x = cuda.ones(2, "float32")
    assert tensor(x).device == tensor(tensor(x)).device == (F.relu(x) + 1).device == "cuda:1"
    assert tensor(x, device="cpu").device == "cpu"


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + tensor([1.0]),
        lambda x: x * np.ones(2, np.float32),
        lambda x: F.linear(x, tensor([[1.0, 2.0]])),
        lambda x: F.conv2d(x.reshape(1, 1, 1, 2), tensor([[[[1.0]]]])),
        lambda x: F.cat([x, tensor([1.0])]),
        lambda x: F.cross_entropy(x.reshape(1, 2), tensor([0])),
        lambda x: F.batch_norm(x.reshape(1, 2), tensor([0.0, 0.0]), tensor([1.0, 1.0])),
    ],
    ids=["number", "array", "linear", "conv2d", "cat", "labels", "statistics"],
)
def test_devices_are_not_mixed(mix):
    with pytest.raises(TypeError, match="one device, got some on 'cuda:0' and some on 'cpu'"):
        mix(tensor([1.0, 2.0], device="cuda"))


def test_nor_are_two_gpus():
    with pytest.raises(TypeError, match="one device, got some on 'cuda:1' and some on 'cuda:0'"):
        tensor([1.0], device="cuda") + tensor([1.0], device="cuda:1")


@pytest.mark.parametrize("name", ["cuda:2", "cuda:x", "cuda:", "gpu"])
def test_a_device_that_there_is_not(name):
    with pytest.raises(ValueError, match=rf"numbered from 0 to 1|must be 'cpu', .*got '{name}'"):
        tensor([1.0], device=name)


# Training


@pytest.mark.parametrize(
    "optimizer",
    [lambda p: optim.SGD(p, lr=0.05, momentum=0.9), lambda p: optim.Adam(p, lr=5e-3)],
    ids=["SGD", "Adam"],
)
def test_lenet5_trains_to_the_cpus_loss_curve(optimizer):
    here, there = (loss_curve(device, 30, optimizer) for device in ("cpu", "cuda"))
    assert np.mean(here[-5:]) < 0.85 * np.mean(here[:5])
    np.testing.assert_allclose(there, here, rtol=1e-2)
    np.testing.assert_allclose(there[:10], here[:10], rtol=1e-4)


def test_a_step_moves_the_batch_in_and_the_loss_out_and_nothing_else():
    model = models.lenet5().to("cuda")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    images, labels = noise(2)
    for _ in range(2):  # the second step has the state that the first one makes
        transfers.clear()
        x, target = tensor(images).to("cuda"), tensor(labels).to("cuda")
        assert [kind for kind, *_ in transfers] == ["to device"] * 2
        loss = F.cross_entropy(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert len(transfers) == 2
        loss.item()
        assert [kind for kind, *_ in transfers[2:]] == ["to host"]


def test_on_the_second_gpu_while_the_first_is_current():
    here = loss_curve("cpu", 2, lambda p: optim.SGD(p, lr=0.1, momentum=0.9), batch=2)
    np.testing.assert_allclose(
        loss_curve("cuda:1", 2, lambda p: optim.SGD(p, lr=0.1, momentum=0.9), batch=2), here, rtol=1e-4
    )


@pytest.mark.parametrize(
    "rule",
    [
        lambda p: optim.SGD(p, lr=0.1),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.5, dampening=0.25, maximize=True),
        lambda p: optim.Adam(p, lr=0.1, amsgrad=True, weight_decay=0.1),
        lambda p: optim.AdamW(p, lr=0.1),
        lambda p: optim.RMSprop(p, lr=0.1, momentum=0.9, centered=True),
        lambda p: optim.Adagrad(p, lr=0.1),
    ],
    ids=["SGD", "Nesterov", "dampened", "Adam", "AdamW", "RMSprop", "Adagrad"],
)
def test_every_optimiser_moves_as_on_the_cpu(rule):
    ends = []
    for device in ("cpu", "cuda"):
        p = tensor(np.random.default_rng(0).normal(size=(3, 4, 3, 2)), device=device, requires_grad=True)
        optimizer = rule([p])
        transfers.clear()
        for _ in range(3):
            optimizer.zero_grad()
            (p * p * p).sum().backward()
            optimizer.step()
        assert transfers == []
        ends.append(seen(p))
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-12)


NETWORKS = {
    "lenet5": (64, {}),
    "lenet5 paper": (1, {"variant": "paper"}),
    "lenet5 d2l": (64, {"variant": "d2l"}),
    "alexnet": (64, {}),
    "alexnet paper": (16, {"variant": "paper"}),
    "vgg11_bn": (64, {}),
    "nin": (64, {}),
    "googlenet": (64, {}),
    "googlenet paper": (64, {"variant": "paper"}),
    "inception_v2": (64, {}),
    "inception_v3": (64, {}),
    "inception_v4": (64, {}),
    "inception_resnet_v2": (32, {}),
    "plain18": (64, {}),
    "resnet18": (64, {}),
    "resnet_cifar": (64, {"depth": 8}),
    "preact_resnet18": (16, {}),
    "preact_resnet_cifar": (64, {"depth": 11}),
}
"""By what to divide the channels of each, and its options."""


def network(name):
    return models.get_model(name.split()[0], **NETWORKS[name][1])


def test_every_kind_of_network_is_here():
    with minicnn.device("meta"):
        here = {type(network(name)) for name in NETWORKS}
        others = set(models.list_models()) - {name.split()[0] for name in NETWORKS}
        assert {type(models.get_model(name)) for name in others} <= here


@pytest.mark.parametrize("name", NETWORKS)
def test_every_networks_answer_and_gradients_are_the_cpus(name):
    divisor, _ = NETWORKS[name]
    minicnn.manual_seed(0)
    with minicnn.device("cpu" if divisor == 1 else "meta"):
        model = network(name)
    if divisor > 1:
        model = slim(model, divisor, num_classes=3, generator=np.random.default_rng(1))
    model.eval()
    x = np.random.default_rng(2).normal(size=(1, *model.input_shape)).astype(np.float32)
    found = []
    for device in ("cpu", "cuda"):
        y = model.to(device)(tensor(x).to(device))
        model.zero_grad()
        (y * y).sum().backward()
        found.append([seen(y), *(seen(p.grad) for p in model.parameters() if p.grad is not None)])
    for there, here in zip(*reversed(found), strict=True):
        assert np.abs(there - here).max() <= 1e-3 * np.abs(here).max() + 1e-6


# What goes wrong


def test_out_of_memory_says_how_much_and_the_step_can_be_tried_smaller(cuda):
    model = models.lenet5().to("cuda")

    def step(count):
        images, labels = noise(count)
        model.zero_grad()
        loss = F.cross_entropy(model(tensor(images).to("cuda")), tensor(labels).to("cuda"))
        loss.backward()
        return loss.item()

    expected = step(2)
    pool = cuda.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(pool.used_bytes() + (1 << 19))
    with pytest.raises(
        MemoryError, match=r"^\w+: cuda:0 is out of memory: .*[0-9,]+ bytes.*holds [0-9,]+ bytes, "
    ):
        step(64)
    with pytest.raises(MemoryError, match=r"^tensor: cuda:0 is out of memory"):
        tensor(np.zeros(1 << 20, np.float32), device="cuda")
    assert step(2) == pytest.approx(expected)


def test_forward_and_backward_must_be_in_one_stream(cuda):
    w = tensor([2.0], device="cuda", requires_grad=True)
    with cuda.cuda.Stream():
        y = (w * w).sum()
    with pytest.raises(
        RuntimeError, match=r"backward: Sum was computed in CuPy's stream 0x\w+, and .* in one stream"
    ):
        y.backward()
    with cuda.cuda.Stream():
        (w * w).sum().backward()
    np.testing.assert_array_equal(seen(w.grad), [4.0])


def test_everything_goes_to_the_current_stream_and_leaves_the_current_device_alone(cuda):
    model = models.lenet5().to("cuda:1")
    optimizer = optim.Adam(model.parameters())
    images, labels = noise(2)
    x, target = tensor(images, device="cuda:1"), tensor(labels, device="cuda:1")
    with cuda.cuda.Device(1), cuda.cuda.Stream() as stream:
        launches.clear()
        model.loss(model(x), target).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        assert {launch.kind for launch in launches} == {"kernel", "function"}
        assert {(launch.device, launch.stream) for launch in launches} == {(1, stream.ptr)}
    launches.clear()
    model(x).sum().item()
    assert {launch.device for launch in launches} == {1}
    assert cuda.cuda.runtime.getDevice() == 0


def test_the_norm_of_all_gradients_is_one_transfer():
    model = models.lenet5().to("cuda")
    images, labels = noise(2)
    model.loss(model(tensor(images).to("cuda")), tensor(labels).to("cuda")).backward()
    transfers.clear()
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    assert [kind for kind, *_ in transfers] == ["to host"]


def test_memory_is_that_of_cupys_pool(cuda):
    pool = cuda.get_default_memory_pool()
    before = pool.used_bytes()
    x = tensor(np.zeros((4, 1, 32, 32), np.float32), device="cuda")
    assert pool.used_bytes() >= before + x.data.nbytes
    y = F.conv2d(x, tensor(np.zeros((8, 1, 3, 3), np.float32), device="cuda"))
    assert pool.used_bytes() >= before + x.data.nbytes + y.data.nbytes
    del x, y
    assert pool.used_bytes() == before


def test_a_batch_of_none(cuda):
    model = models.lenet5().to("cuda")
    y = model(tensor(np.zeros((0, 1, 32, 32), np.float32)).to("cuda"))
    assert y.shape == (0, 10)
    y.sum().backward()
    assert all(not seen(p.grad).any() for p in model.parameters())


# Files, data, commands


def test_a_checkpoint_from_there_is_one_for_here(tmp_path):
    minicnn.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).to("cuda")
    minicnn.save(tmp_path / "a.safetensors", model.state_dict())
    other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    other.load_state_dict(minicnn.load(tmp_path / "a.safetensors"))
    for (name, mine), theirs in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        np.testing.assert_array_equal(seen(mine), theirs, err_msg=name)
    model.load_state_dict({name: 2 * array for name, array in other.state_dict().items()})
    np.testing.assert_array_equal(seen(model[0].weight), 2 * other[0].weight.data)
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(seen(model[0].weight), other[0].weight.data)


def test_an_optimisers_state_moves_between_devices():
    p, q = tensor([1.0, 2.0], requires_grad=True), tensor([1.0, 2.0], device="cuda", requires_grad=True)
    first, second = optim.Adam([p]), optim.Adam([q])
    p.grad = np.ones(2, np.float32)
    first.step()
    second.load_state_dict(first.state_dict())
    assert backend.device_of(second.state[q]["exp_avg"]) == "cuda:0"


def test_an_optimiser_with_memories_elsewhere_says_so():
    p = nn.Linear(2, 1)
    optimizer = optim.SGD(p.parameters(), lr=0.1, momentum=0.9)
    p(tensor([[1.0, 2.0]])).sum().backward()
    optimizer.step()
    p.to("cuda")
    with pytest.raises(
        TypeError,
        match="momentum_buffer must be on its parameter's device, cuda:0, got one on cpu; a model is moved",
    ):
        optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()


def test_fit_evaluate_and_predict_feed_a_model_where_it_is():
    images = np.random.default_rng(0).integers(256, size=(12, 1, 28, 28)).astype(np.uint8)
    train = Dataset(images, np.arange(12) % 10, tuple("0123456789"), "noise")
    ends = []
    for device in ("cpu", "cuda"):
        minicnn.manual_seed(1)
        model = models.lenet5().to(device)
        history = training.fit(model, train, train, epochs=1, batch_size=4)
        with no_grad():
            found = training.predict_crops(model, training.prepare(model, train)(images[:3]))
        ends.append([history.epochs[0].train_loss, history.epochs[0].test_loss, *found.ravel()])
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-3)
