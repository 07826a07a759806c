"""The stand-in for CuPy: as strict as it says, its counts, its devices, and minicnn's kernels run on it."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import reduce

import ml_dtypes
import numpy as np
import pytest
import standin
from cuda_emulator import EmulatorError
from ladder import close

import minicnn
from minicnn import Tensor
from minicnn import functional as F
from minicnn.backend import cupy_device
from minicnn.backend.cuda_source import kernel
from minicnn.backend.ladder.batch_norm import batch_norm_inference
from minicnn.backend.ladder.lrn import lrn_backward, lrn_forward

pytestmark = pytest.mark.skipif(
    os.environ.get("MINICNN_TEST_GPU") == "1",
    reason="these are of the stand-in, and a real GPU was asked for",
)

# Of the namespaces of CuPy 14.2.0, what the stand-in may offer.
NAMES = {
    "cupy": """
        RawModule abs absolute add all any arange argmax argmin argsort array asarray ascontiguousarray
        asnumpy bitwise_and bitwise_or bitwise_xor bool_ broadcast broadcast_to clip concatenate copy
        copyto cuda cumsum divide divmod dtype empty empty_like equal exp expand_dims finfo float16
        float32 float64 floor_divide from_dlpack full full_like get_array_module get_default_memory_pool
        greater greater_equal inf int16 int32 int64 int8 invert is_available isinf isnan left_shift less
        less_equal log matmul max maximum may_share_memory mean min minimum moveaxis multiply nan ndarray
        negative nonzero not_equal ones ones_like pad positive power prod put_along_axis remainder repeat
        result_type right_shift round sqrt square stack std subtract sum swapaxes take take_along_axis
        tanh true_divide ufunc uint16 uint32 uint64 uint8 uintp var where zeros zeros_like
    """,
    "cupy.ndarray": """
        T all any argmax argmin argsort astype base clip copy cumsum data device diagonal dtype fill
        flags flatten get item itemsize max mean min nbytes ndim nonzero prod ravel repeat reshape round
        set shape size squeeze std strides sum swapaxes take tobytes tolist transpose var view
    """,
    "cupy.cuda": """
        Device Event MemoryPointer MemoryPool Stream alloc get_current_stream get_elapsed_time
        cublas get_cublas_handle get_local_runtime_version is_available memory runtime
    """,
    "cupy.cuda.runtime": """
        CUDARuntimeError deviceSynchronize driverGetVersion getDevice getDeviceCount getDeviceProperties
        is_hip memGetInfo runtimeGetVersion setDevice
    """,
    "cupy.cuda.memory": "MemoryPointer MemoryPool OutOfMemoryError",
    "cupy.cuda.Device": "attributes compute_capability mem_info pci_bus_id synchronize use",
    "cupy.cuda.Stream": "null record synchronize use wait_event",
    "cupy.cuda.Event": "record synchronize",
    "cupy.cuda.MemoryPool": """
        free_all_blocks free_bytes get_limit n_free_blocks set_limit total_bytes used_bytes
    """,
    "cupy.cuda.MemoryPointer": "device device_id",
    "cupy.ufunc": "at reduce",
    "cupy.RawModule": "get_function",
}


@pytest.mark.parametrize("place", NAMES)
def test_no_name_that_cupy_has_not(place):
    namespace = reduce(getattr, place.split(".")[1:], standin.cupy)
    assert {name for name in dir(namespace) if name[0] != "_"} <= set(NAMES[place].split())


def test_names_that_only_numpy_has(cuda):
    for name in ("errstate", "bfloat16", "broadcast_shape", "reduceat", "rsqrt", "float128"):
        with pytest.raises(AttributeError):
            getattr(cuda, name)


# Host and device

NUMPY_TOUCHES_IT = {
    "asarray": lambda d, h: np.asarray(d),
    "ufunc": lambda d, h: np.exp(d),
    "function": lambda d, h: np.sum(d),
    "shape": lambda d, h: np.shape(d),
    "concatenate": lambda d, h: np.concatenate([h, d]),
    "a list of them": lambda d, h: np.array([d, d]),
    "into a host array": lambda d, h: h.__setitem__(..., d),
    "out": lambda d, h: np.add(h, h, out=d),
    "copyto": lambda d, h: np.copyto(h, d),
    "as an index": lambda d, h: h[d],
    "a host scalar, left": lambda d, h: np.float32(2) * d,
}
MIXED = {
    "add": lambda cp, d, h: d + h,
    "radd": lambda cp, d, h: h + d,
    "in place": lambda cp, d, h: d.__iadd__(h),
    "in place, on the host": lambda cp, d, h: h.__iadd__(d),
    "compare": lambda cp, d, h: d < h,
    "matmul": lambda cp, d, h: d @ h,
    "0-d": lambda cp, d, h: d + np.array(1.0),
    "ufunc": lambda cp, d, h: cp.maximum(d, h),
    "ufunc, only host": lambda cp, d, h: cp.exp(h),
    "ufunc's out": lambda cp, d, h: cp.exp(d, out=h),
    "function": lambda cp, d, h: cp.concatenate([d, h]),
    "function, only host": lambda cp, d, h: cp.sum(h),
    "where": lambda cp, d, h: cp.where(d > 0, d, h),
    "clip": lambda cp, d, h: cp.clip(d, h, None),
    "put_along_axis": lambda cp, d, h: cp.put_along_axis(d, h.astype(int), 1.0, 0),
    "add.at": lambda cp, d, h: cp.add.at(d, cp.asarray([0]), h),
    "a list": lambda cp, d, h: d.__add__([1.0, 2.0, 3.0]),
    "None": lambda cp, d, h: d == None,  # noqa: E711  (which is what is tested)
    "array of both": lambda cp, d, h: cp.asarray([d, h]),
}


@pytest.mark.parametrize("touch", NUMPY_TOUCHES_IT.values(), ids=NUMPY_TOUCHES_IT)
def test_numpy_keeps_off(cuda, touch):
    with pytest.raises(TypeError, match=r"numpy\.|Implicit conversion"):
        touch(cuda.ones(3, np.float32), np.ones(3, np.float32))


@pytest.mark.parametrize("mix", MIXED.values(), ids=MIXED)
def test_no_host_array_beside_a_devices(cuda, mix):
    with pytest.raises(TypeError, match=r"Unsupported type|numpy\.|Implicit conversion"):
        mix(cuda, cuda.ones(3, np.float32), np.ones(3, np.float32))


def test_no_host_array_is_assigned(cuda):
    array = cuda.zeros((2, 3))
    for write in (
        lambda: array.__setitem__(0, np.ones(3)),
        lambda: array.fill(np.ones(3)),
        lambda: cuda.copyto(array, np.ones((2, 3))),
        lambda: cuda.full((2, 3), np.ones(3)),
    ):
        with pytest.raises(ValueError, match=r"non-scalar numpy\.ndarray"):
            write()
    array[0] = np.array(2.0)  # a scalar, to CuPy
    assert array.get().tolist() == [[2, 2, 2], [0, 0, 0]]


def test_keywords_that_cupy_has_not(cuda):
    array = cuda.ones(3)
    for call in (
        lambda: cuda.add(array, 1, where=array > 0),
        lambda: cuda.sum(array, initial=0),
        lambda: cuda.max(array, where=array > 0),
        lambda: cuda.take(array, array, mode="clip"),
        lambda: array.sum(where=array > 0),
        lambda: cuda.empty(3, like=array),
        lambda: array.astype(np.float32, casting="safe"),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(NotImplementedError):
        cuda.multiply.at(array, 0, 2.0)
    with pytest.raises(TypeError, match="only supports"):
        cuda.add.at(cuda.ones(3, ml_dtypes.bfloat16), 0, 2)


# Values, dtypes and layouts


def test_numpys_values(cuda):
    host = np.random.default_rng(0).standard_normal((3, 4))
    array = cuda.asarray(host)
    for found, expected in (
        (2 - array[:, 1:3] / 3, 2 - host[:, 1:3] / 3),
        (array.T @ array, host.T @ host),
        (cuda.where(array > 0, array, 0.0).sum(axis=1, keepdims=True), host.clip(0).sum(1, keepdims=True)),
        (array[array > 0], host[host > 0]),
        (array[None, ..., cuda.asarray([2, 0])], host[None, :, [2, 0]]),
        (array.max(0).reshape(2, 2), host.max(0).reshape(2, 2)),
        (cuda.stack([array, -array], axis=1), np.stack([host, -host], axis=1)),
        (cuda.take_along_axis(array, cuda.argsort(array, 1), 1), np.sort(host, 1)),
        (divmod(array, 0.5)[1], host % 0.5),
    ):
        assert isinstance(found, cuda.ndarray)
        np.testing.assert_allclose(found.get(), expected)


def test_a_view_is_one(cuda):
    array = cuda.zeros((2, 3))
    array.T[1] += 1
    array[0, 0].fill(7)
    cuda.moveaxis(array, 0, 1).reshape(3, 2)[2, 1] = 5
    assert array.tolist() == [[7, 1, 0], [0, 1, 5]]
    assert array[1].base is array
    assert array[1:].data.ptr == array.data.ptr + 24
    assert cuda.may_share_memory(array, array[1])
    assert not cuda.may_share_memory(array, array.copy())


def test_results_are_in_c_order(cuda):
    images = cuda.ones((2, 4, 4, 3), np.float32).transpose(0, 3, 1, 2)
    assert not images.flags.c_contiguous
    assert (images + 1).flags.c_contiguous  # in NumPy they would keep the order of the operand
    assert cuda.concatenate([images, images]).flags.c_contiguous
    assert images.copy().flags.c_contiguous
    for kept in (cuda.empty_like(images), images.astype(np.float64), cuda.copy(images), images.copy("K")):
        assert [size // kept.itemsize for size in kept.strides] == [48, 1, 12, 3]


def test_new_memory_is_poisoned(cuda):
    assert np.isnan(cuda.empty((3, 5), np.float32).get()).all()
    assert (cuda.empty_like(cuda.zeros(3, np.int8)).get() == -1).all()


def test_halves(cuda):
    half = cuda.full(4096, 1.0, ml_dtypes.bfloat16)
    assert (half + 1).dtype == half.dtype
    assert {(half * 2.0).dtype, cuda.maximum(half, 0.5).dtype, (half * np.float32(2)).dtype} == {
        np.dtype("f4")
    }
    assert cuda.where(half > 0, half, half).dtype == np.float32
    half *= 2.0
    half /= 2.0
    assert half.dtype.name == "bfloat16"
    assert float(half.sum()) == 4096  # which bfloat16 cannot count up to
    assert float(half.reshape(1, -1) @ half) == 4096
    assert cuda.clip(half, 0, 2).dtype == np.float32
    with pytest.raises(TypeError):
        cuda.clip(half, None, 2)
    with pytest.raises(TypeError):
        half.reshape(1, 64, 64) @ half.reshape(64, 64)


# Counts


def test_transfers(cuda):
    array = cuda.asarray(np.ones((2, 3), np.float32))
    cuda.asarray(3.0)
    array[[0, 1]].get()
    assert [(t.kind, t.nbytes) for t in standin.transfers] == [
        ("to device", 24),
        ("to device", 8),
        ("to device", 16),
        ("to host", 24),
    ]
    for read in (float, int, bool, str, repr, "{:.2f}".format, lambda x: x.item(), lambda x: x.tolist()):
        standin.transfers.clear()
        read(array[0, 0])
        assert [(t.kind, t.nbytes) for t in standin.transfers] == [("to host", 4)]
    standin.transfers.clear()
    array[array > 0]
    assert [t.nbytes for t in standin.transfers] == [8]  # how many they are


def test_what_is_no_transfer(cuda):
    array = cuda.full((2, 3), 2.0, np.float32)
    array += 1
    array[0] = 5
    cuda.copyto(array[1], 3.0)
    cuda.where(array > 4, array, 0).sum(axis=0)
    cuda.add.at(array, (slice(None), cuda.arange(2)), 1.0)
    assert standin.transfers == []
    assert [launch.name for launch in standin.launches] == [
        *("fill", "add", "setitem", "copyto", "greater", "where", "sum", "arange", "add.at")
    ]


# Memory


def test_memory_is_counted_while_it_lives(cuda):
    pool = cuda.get_default_memory_pool()
    array = cuda.zeros(1000, np.float32)
    assert pool.used_bytes() == pool.total_bytes() == 4096
    view = array[10:]
    del array
    assert pool.used_bytes() == 4096
    del view
    assert (pool.used_bytes(), pool.total_bytes(), pool.n_free_blocks()) == (0, 4096, 1)
    cuda.zeros(1024, np.float32)
    assert pool.total_bytes() == 4096
    pool.free_all_blocks()
    assert pool.total_bytes() == 0
    free, total = cuda.cuda.runtime.memGetInfo()
    assert free == total


def test_out_of_memory(cuda):
    pool = cuda.get_default_memory_pool()
    kept = cuda.zeros(1024, np.uint8)
    pool.set_limit(size=2048)
    with pytest.raises(cuda.cuda.memory.OutOfMemoryError) as error:
        cuda.empty(1025, np.uint8)
    assert isinstance(error.value, MemoryError)
    assert str(error.value) == (
        "Out of memory allocating 1,536 bytes (allocated so far: 1,024 bytes, limit set to: 2,048 bytes)."
    )
    cuda.empty(1024, np.uint8)
    pool.set_limit()
    standin.machine.total = 4096
    with pytest.raises(MemoryError, match=r"allocating 3,584 bytes \(allocated so far: 1,024 bytes\)\."):
        cuda.empty(3073, np.uint8)
    pool.set_limit(size=8192)
    with pytest.raises(MemoryError):
        cuda.empty(3073, np.uint8)
    assert pool.used_bytes() == kept.nbytes


def test_memory_kept_for_reuse_is_given_up_first(cuda):
    standin.machine.total = 4096
    cuda.empty(2048, np.uint8)
    assert cuda.empty(4096, np.uint8).size == 4096


# Devices and streams


def test_one_device_at_a_time(cuda):
    with cuda.cuda.Device(1):
        there = cuda.arange(3.0)
    here = cuda.arange(3.0)
    assert (here.device.id, there.device.id) == (0, 1)
    for compute in (
        lambda: there + 1,
        lambda: here + there,
        lambda: there.sum(),
        lambda: there.__setitem__(0, 1),
        lambda: here.__setitem__(..., there),
        lambda: cuda.concatenate([here, there]),
        lambda: there[cuda.asarray([0])],
        lambda: there.astype(np.float32),
        lambda: cuda.matmul(there, there),
    ):
        with pytest.raises(ValueError, match="Array device must be same as the current device"):
            compute()
    assert there[1:].get().tolist() == [1, 2]
    assert there[:0].device.id == 1
    standin.transfers.clear()
    assert (cuda.asarray(there) + here).device.id == 0
    assert [t.kind for t in standin.transfers] == ["between devices"]


def test_current_device(cuda):
    runtime = cuda.cuda.runtime
    with cuda.cuda.Device(1):
        assert runtime.getDevice() == cuda.cuda.Device().id == cuda.empty(3).device.id == 1
        assert cuda.get_default_memory_pool().used_bytes() == 0
    assert runtime.getDevice() == 0
    for number in (-1, 2):
        with pytest.raises(runtime.CUDARuntimeError, match="invalid device ordinal"):
            cuda.cuda.Device(number).use()
    standin.machine.devices = 3
    cuda.cuda.Device(2).use()
    assert cuda.empty(0).device.id == 2


def test_threads_have_their_own(cuda):
    device, met = cuda.cuda.Device(1), threading.Barrier(2)

    def use():
        before = cuda.cuda.runtime.getDevice()
        with device:
            met.wait()
            inside = cuda.cuda.runtime.getDevice()
            met.wait()
        return before, inside, cuda.cuda.runtime.getDevice()

    with cuda.cuda.Device(1), ThreadPoolExecutor(2) as pool:
        assert [future.result() for future in [pool.submit(use), pool.submit(use)]] == [(0, 1, 0)] * 2
        assert cuda.cuda.runtime.getDevice() == 1


def test_streams(cuda):
    stream = cuda.cuda.Stream(non_blocking=True)
    with stream:
        assert cuda.cuda.get_current_stream() == stream
        cuda.zeros(3)
    assert cuda.cuda.get_current_stream() == cuda.cuda.Stream.null
    assert [launch.stream for launch in standin.launches] == [stream.ptr]
    with cuda.cuda.Device(1), pytest.raises(RuntimeError, match="not created on device 1"):
        stream.use()
    start, end = stream.record(), stream.record()
    assert cuda.cuda.get_elapsed_time(start, end) >= 0


# Between libraries


class Foreign:
    """Another library's array, said to be on a device."""

    def __init__(self, array, kind=2):
        self.array, self.kind = array, kind

    def __dlpack_device__(self):
        return self.kind, 1

    def __dlpack__(self, stream=None):
        return self.array.__dlpack__()


def test_dlpack(cuda):
    host = np.arange(6.0).reshape(2, 3).T
    array = cuda.from_dlpack(Foreign(host))
    with array.device:
        array[0] = 7
        assert cuda.may_share_memory(array, cuda.from_dlpack(array))
        assert cuda.may_share_memory(array, cuda.from_dlpack(cuda.from_dlpack(array).T))
    assert (array.device.id, host[0].tolist(), standin.transfers) == (1, [7, 7], [])
    with pytest.raises(TypeError, match="CPU arrays"):
        cuda.from_dlpack(Foreign(host, kind=1))
    half = cuda.full((2, 3), 1.5, ml_dtypes.bfloat16)
    again = cuda.from_dlpack(half)
    assert again.dtype == half.dtype
    assert again.tolist() == half.tolist()
    with pytest.raises((BufferError, RuntimeError, TypeError)):
        np.from_dlpack(array)


def test_array_interface(cuda):
    array = cuda.zeros((2, 3), np.float32)
    interface = array.T.__cuda_array_interface__
    assert interface["data"] == (array.data.ptr, False)
    assert (interface["shape"], interface["strides"], interface["typestr"]) == ((3, 2), (4, 12), "<f4")


# Kernels


def images(shape=(1, 2, 3, 8), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_kernels(cuda):
    host, gradient = images(), images(seed=1)
    on = cupy_device.launcher()
    x, g = cuda.asarray(host), cuda.asarray(gradient)
    y, dx = lrn_forward(on, x, 5, 0.5), lrn_backward(on, x, g, 5, 0.5)
    tensor = Tensor(np.moveaxis(host.astype(float), -1, 1), requires_grad=True)
    expected = F.local_response_norm(tensor, 5, alpha=0.5, k=1.0)
    expected.backward(np.moveaxis(gradient.astype(float), -1, 1))
    close(y.get(), np.moveaxis(expected.data, 1, -1))
    close(dx.get(), np.moveaxis(tensor.grad, 1, -1))
    kernels = [launch for launch in standin.launches if launch.kind == "kernel"]
    assert [kernel.name.partition("<")[0] for kernel in kernels] == ["lrn_forward_v3", "lrn_backward_v3"]
    assert [t.kind for t in standin.transfers] == ["to device"] * 2 + ["to host"] * 2


LRN = (np.int32(8), np.int32(5), np.float32(0.1), np.float32(0.75), np.float32(1), np.int32(48))


def lrn(cuda):
    """lrn_forward_v1, as CuPy loads it."""
    path, name = cupy_device.cubin(kernel("lrn_forward_v1"), "lrn_forward_v1<float, int>", 90)
    return cuda.RawModule(path=str(path)).get_function(name)


def test_pointers(cuda):
    function, x = lrn(cuda), cuda.asarray(images())
    expected, both = cuda.empty_like(x), cuda.empty((3, *x.shape), np.float32)
    function((1,), (256,), (x, expected, *LRN))
    both[0] = x
    for source, target in (
        (x.data.ptr, np.uintp(both[1].data.ptr)),
        (x.data, both[1].data),
        (both.data.ptr, both[1].data.ptr),  # of one allocation
        (both.data.ptr, both[1]),
    ):
        both[1:].fill(np.nan)
        function((1,), (256,), (source, target, *LRN))
        assert (both[1] == expected).all()
        assert cuda.isnan(both[2]).all()
    function((1,), (256,), (np.uintp(0), 0, *LRN[:-1], np.int32(0)))  # null, and no element of it


def test_launches_that_cupy_would_not_survive(cuda):
    function, x = lrn(cuda), cuda.asarray(images())
    y = cuda.empty_like(x)
    with cuda.cuda.Device(1):
        there = cuda.empty_like(x)
    gone = cuda.empty(1 << 20).data.ptr
    error = cuda.cuda.runtime.CUDARuntimeError
    for refusal, grid, arguments, shared in (
        ((error, "no living array"), (1,), (x, gone, *LRN), 0),
        ((error, "no living array"), (1,), (x, 64, *LRN), 0),
        ((ValueError, "current device"), (1,), (x, there, *LRN), 0),
        ((ValueError, "current device"), (1,), (x, there.data.ptr, *LRN), 0),
        ((TypeError, "size one"), (1,), (x, images(), *LRN), 0),
        ((TypeError, "takes 8 arguments"), (1,), (x, y), 0),
        ((TypeError, "CuPy 13"), (1,), (x, None, *LRN), 0),
        ((ValueError, "would start one block"), (0,), (x, y, *LRN), 0),
        ((error, "INVALID_VALUE"), (1,), (x, y, *LRN), 1 << 16),
        ((EmulatorError, "Python int"), (1,), (x, y, 8, *LRN[1:]), 0),
        ((EmulatorError, "float64 array"), (1,), (x, y.astype(float), *LRN), 0),
        ((EmulatorError, "strides"), (1,), (x, y[..., ::-1], *LRN), 0),
    ):
        standin.launches.clear()
        with pytest.raises(refusal[0], match=refusal[1]):
            function(grid, (256,), arguments, shared_mem=shared)
        assert standin.launches == []
    function.max_dynamic_shared_size_bytes = 1 << 16
    function((1,), (256,), (x, y, *LRN), shared_mem=1 << 16)


def test_structures_and_null_pointers(cuda):
    host = images((2, 3, 2, 4))
    on, x, statistics = cupy_device.launcher(), cuda.asarray(host), np.full(4, 0.5, np.float32)
    mean, var = cuda.asarray(statistics), cuda.asarray(2 * statistics)
    y = batch_norm_inference(on, x, mean, var)
    close(y.get(), (host.astype(float) - 0.5) / np.sqrt(1 + 1e-5))
    assert standin.launches[-1].kind == "kernel"


# Put in and taken away


def test_minicnn_finds_it(cuda):
    tensor = minicnn.tensor(images(), device="cuda:1", requires_grad=True)
    F.relu(tensor).sum().backward()
    assert (tensor.device, tensor.grad.device.id) == ("cuda:1", 1)
    with tensor.data.device:
        assert isinstance(cuda.ones(8, np.float32) + tensor, Tensor)  # which CuPy leaves to the tensor


def test_nothing_is_left_of_it():
    assert "cupy" not in sys.modules
    with standin.installed() as cupy:
        minicnn.tensor([1.0], device="cuda")
        launcher, seam = cupy_device.launcher(), sys.modules["minicnn.backend.gpu"]
        cupy.cuda.Device(1).use()
        cupy.get_default_memory_pool().set_limit(size=1)
    assert not [name for name in sys.modules if name.split(".")[0] in ("cupy", "cupyx")]
    assert "minicnn.backend.gpu" not in sys.modules
    assert not hasattr(minicnn.backend, "gpu")
    assert cupy_device.cubin.__module__ == "minicnn.backend.cupy_device"
    with pytest.raises(RuntimeError, match="cuda"):
        minicnn.tensor([1.0], device="cuda")
    with standin.installed() as cupy:
        assert cupy.zeros(3).device.id == 0
        minicnn.tensor([1.0], device="cuda")
        assert cupy_device.launcher() is not launcher
        assert sys.modules["minicnn.backend.gpu"] is not seam
