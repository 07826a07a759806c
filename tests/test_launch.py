"""A launch: arguments held to the kernel's signature, instances chosen, one clear message for everything refused."""

from typing import ClassVar

import numpy as np
import pytest

from minicnn.backend import cupy_device, launch, nvrtc
from minicnn.backend.cuda_source import kernel
from minicnn.backend.launch import Launcher

pytestmark = pytest.mark.usefixtures("cuda_files")


class Recorder:
    """A device that starts nothing and remembers what it was asked to."""

    capability = 90
    multiprocessors = 4
    shared_memory = 1000

    def __init__(self):
        self.started = []

    def holds(self, array):
        return isinstance(array, np.ndarray)

    def address(self, array):
        return array.ctypes.data

    def empty(self, shape, dtype):
        return np.empty(shape, dtype)

    def matmul(self, a, b, out):
        return np.matmul(a, b, out=out)

    def function(self, kernel, expression):
        def start(grid, block, arguments, shared_mem):
            self.started.append((expression, grid, block, arguments, shared_mem))

        return start


@pytest.fixture
def on():
    return Launcher(Recorder())


def floats(*shape, dtype=np.float32):
    return np.ones(shape, dtype)


def test_arguments_arrive_as_the_types_the_kernel_reads(on):
    x, y = floats(3, 5), floats(3, 5)
    assert on.launch("scale_v1", (1,), (64,), x, y, 15, 2) is None
    ((expression, grid, block, arguments, shared),) = on.device.started
    assert (expression, grid, block, shared) == ("scale_v1<float, int>", (1,), (64,), 0)
    assert arguments[0] is x
    assert arguments[1] is y
    assert [type(argument) for argument in arguments[2:]] == [np.int32, np.float32]


def test_element_types_come_from_the_arrays(on):
    on.launch("scale_v1", (1,), (64,), floats(3, 5, dtype="float16"), floats(3, 5, dtype="float16"), 15, 2.5)
    assert on.device.started[0][0] == "scale_v1<__half, int>"


def test_other_template_parameters_are_asked_for(on):
    on.launch(
        "scale_v2", (2, 3), (8, 8), floats(1, 8), floats(1, 8), 8, 1.0, shared=868, kVector=4, kFlag=True
    )
    expression, grid, block, _, shared = on.device.started[0]
    assert (expression, grid, block, shared) == ("scale_v2<float, int, 4, true>", (2, 3), (8, 8), 868)


def test_structs_sums_bools_and_null(on):
    x, y = floats(2, 3, 4, dtype="float16"), floats(2)
    on.launch("spread_v1", (1,), (1,), x, None, y, 0.5, {"N": 2, "G": 1}, True)
    _, rows, _, by, shape, negative = on.device.started[0][3]
    assert (type(rows), rows) == (np.uintp, 0)
    assert (type(by), type(negative)) == (np.float32, np.bool_)
    assert shape.tobytes() == np.array([2, 1], np.int32).tobytes()


def test_long_indices_are_taken_when_an_array_or_the_threads_need_them(on, monkeypatch):
    x, y = floats(3, 5), floats(3, 5)
    for most, index in ((15 + 64, "int"), (15 + 63, "long long")):
        monkeypatch.setattr(launch, "INT32_MAX", most)
        on.launch("scale_v1", (1,), (64,), x, y, 15, 1.0)
        assert on.device.started[-1][0] == f"scale_v1<float, {index}>"
    monkeypatch.undo()
    on.launch("scale_v1", (1,), (64,), x, y, 2**31, 1.0)
    assert on.device.started[-1][0] == "scale_v1<float, long long>"
    assert type(on.device.started[-1][3][2]) is np.int64
    on.launch("scale_v1", (1,), (64,), x, y, 15, 1.0, Index="long long")
    assert on.device.started[-1][0] == "scale_v1<float, long long>"


def test_a_large_number_that_is_no_index_changes_nothing(on):
    on.launch("fill_v1", (1,), (1,), floats(5), 5, 2**64 - 1)
    assert on.device.started[0][0] == "fill_v1<int>"


def test_what_is_started_does_not_vary_with_a_number_that_varies(on):
    def fill(on, y, *, offset, seed):
        on.launch("fill_v1", (1,), (1,), y, offset, seed)

    for count in (5, 5, 6):
        y = floats(count)
        on.run(fill, y, offset=count, seed=count)
        _, _, _, arguments, _ = on.device.started[-1]
        assert arguments[0] is y
        assert arguments[1:] == (count, count)
    assert len(on.plans) == 0  # its index would be the first call's
    with pytest.raises(ValueError, match="N is 5 in y"):
        on.run(fill, floats(5), offset=4, seed=1)


def test_an_empty_grid_is_nothing_to_do(on):
    on.launch("scale_v1", (0,), (64,), floats(0, 5), floats(0, 5), 0, 1.0)
    assert on.device.started == []


X, Y = floats(3, 5), floats(3, 5)
BYTES = np.zeros(100, np.uint8)
SHIFTED = BYTES[-BYTES.ctypes.data % 16 + 4 :][:60].view(np.float32).reshape(3, 5)
BOTH = floats(5, 8)
SHAPE = {"N": 2, "G": 1}


def test_arrays_side_by_side_and_one_that_a_kernel_may_change_in_place(on):
    on.launch("scale_v1", (1,), (64,), BOTH[:2], BOTH[2:4], 16, 1.0)
    x = floats(3, 2)
    on.launch("pair_v1", (1,), (64,), x, x, 3)
    assert len(on.device.started) == 2


@pytest.mark.parametrize(
    ("name", "arguments", "options", "error", "message"),
    [
        ("scale_v1", (X, Y, 15), {}, TypeError, r"scale_v1 takes 4 arguments \(x, y, size, by\), got 3"),
        ("scale_v1", (X, Y.astype("f8"), 15, 1.0), {}, TypeError, "y must be float32 for T[*], got float64"),
        (
            "scale_v1",
            (X, Y.astype(">f4"), 15, 1.0),
            {},
            TypeError,
            "y must be in the machine's byte order, got >f4",
        ),
        (
            "scale_v1",
            (X.astype("f8"),) * 2 + (15, 1.0),
            {},
            ValueError,
            "not made for <double, int>, only for: float, ",
        ),
        (
            "scale_v1",
            (X.astype("c8"), Y, 15, 1.0),
            {},
            TypeError,
            "x has dtype complex64, of which kernels know",
        ),
        (
            "scale_v1",
            (X[None], Y, 15, 1.0),
            {},
            ValueError,
            r"x must have the 2 axes \[N, C\], got shape \(1, 3, 5\)",
        ),
        (
            "scale_v1",
            (X.T, Y, 15, 1.0),
            {},
            ValueError,
            r"x must be C-contiguous, got strides \(4, 20\) of shape",
        ),
        (
            "scale_v1",
            (SHIFTED, Y, 15, 1.0),
            {},
            ValueError,
            "x must begin at a multiple of 16 bytes, as a copy does, got 4 bytes beyond",
        ),
        ("scale_v1", (X, floats(4, 5), 15, 1.0), {}, ValueError, r"N is 3 in x \(3, 5\) and 4 in y \(4, 5\)"),
        (
            "pair_v1",
            (X, X, 3),
            {},
            ValueError,
            r"pair_v1: x must have the axes \[N, 2\], got shape \(3, 5\)",
        ),
        ("scale_v1", (X, X, 15, 1.0), {}, ValueError, "scale_v1: x and y must not share memory, for one of"),
        (
            "scale_v1",
            (BOTH[:3], BOTH[2:], 15, 1.0),
            {},
            ValueError,
            "x and y must not share memory, for one of them is written",
        ),
        ("scale_v1", ([1.0], Y, 15, 1.0), {}, TypeError, "x must be an array on this device, got list"),
        ("scale_v1", (None, Y, 15, 1.0), {}, TypeError, "x must be an array, got None"),
        ("scale_v1", (X, Y, 15.0, 1.0), {}, TypeError, "size must be an int, got float 15.0"),
        ("scale_v1", (X, Y, True, 1.0), {}, TypeError, "size must be an int, got bool True"),
        ("scale_v1", (X, Y, 15, "1"), {}, TypeError, "by must be a number, got str '1'"),
        ("scale_v1", (X, Y, 15, 1e39), {}, ValueError, "by must fit float, got 1e[+]39"),
        (
            "scale_v1",
            (X, Y, 2**63, 1.0),
            {},
            ValueError,
            r"size must fit long long \(-9223372036854775808 to",
        ),
        ("fill_v1", (floats(5), 5, -1), {}, ValueError, "seed must fit unsigned long long .*, got -1"),
        ("fill_v1", (floats(5), 6, 1), {}, ValueError, r"N is 5 in y \(5,\) and 6 in the argument N"),
        (
            "spread_v1",
            (floats(2, 1, 1, dtype="f2"), None, floats(2), 1.0, SHAPE, 1),
            {},
            TypeError,
            "must be a bool",
        ),
        (
            "spread_v1",
            (floats(3, 1, 1, dtype="f2"), None, floats(3), 1.0, SHAPE, True),
            {},
            ValueError,
            r"N is 3 in x \(3, 1, 1\) and 2 in shape.N",
        ),
        (
            "spread_v1",
            (floats(2, 1, 1, dtype="f2"), None, floats(2), 1.0, {"N": 2}, True),
            {},
            TypeError,
            r"shape must be a mapping with the fields N, G, got \['N'\]",
        ),
        (
            "spread_v1",
            (floats(2, 1, 1, dtype="f2"), None, floats(2), 1.0, {"N": 2, "G": 2**31}, True),
            {},
            ValueError,
            r"shape.G must fit int \(.*\), got 2147483648",
        ),
        (
            "scale_v2",
            (X, Y, 15, 1.0),
            {},
            TypeError,
            "the template parameters kVector, kFlag must be given by name",
        ),
        (
            "scale_v1",
            (X, Y, 15, 1.0),
            {"kVector": 4},
            TypeError,
            "has no template parameter kVector; it has T, Index",
        ),
        (
            "scale_v2",
            (X, Y, 15, 1.0),
            {"kVector": 2, "kFlag": True},
            ValueError,
            r"scale_v2 is not made for <float, int, 2, true>, only for: float, int, 4, true; .* \(scale.cu:\d+\)",
        ),
        (
            "scale_v2",
            (X, Y, 15, 1.0),
            {"kVector": 4, "kFlag": True, "shared": 869},
            ValueError,
            "takes 1001 bytes of shared memory a block, the device has 1000",
        ),
        ("scale_v3", (X, Y, 15, 1.0), {}, ValueError, "no kernel 'scale_v3'"),
    ],
)
def test_what_is_refused_and_why(on, name, arguments, options, error, message):
    with pytest.raises(error, match=message):
        on.launch(name, (1,), (64,), *arguments, **options)
    assert on.device.started == []


@pytest.mark.parametrize(
    ("grid", "block", "message"),
    [
        ((1,), (1025,), r"a block has 1 to 1024 threads, got \(1025,\)"),
        ((1,), (0,), r"a block has 1 to 1024 threads, got \(0,\)"),
        ((1, 65536), (1,), r"a grid has at most .* blocks, got \(1, 65536\)"),
        ((-1,), (1,), r"a grid has at most .* blocks, got \(-1,\)"),
    ],
)
def test_grids_and_blocks_that_cannot_be(on, grid, block, message):
    with pytest.raises(ValueError, match=message):
        on.launch("scale_v1", grid, block, X, Y, 15, 1.0)


def test_a_device_too_old(on):
    on.device.capability = 75
    on.launch("scale_v1", (1,), (64,), X, Y, 15, 1.0)
    with pytest.raises(ValueError, match=r"scale_v2 needs compute capability 8.0, the device has 7.5"):
        on.launch("scale_v2", (1,), (64,), X, Y, 15, 1.0, kVector=4, kFlag=True)


def test_the_products_of_the_vendors_library(on):
    a, b = np.arange(12.0).reshape(2, 2, 3), np.arange(6.0).reshape(3, 2)
    out = on.empty([2, 2, 2], np.float64)
    on.matmul(a, b, out)
    np.testing.assert_array_equal(out, a @ b)


# The cache of machine code


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    """A compiler that counts its calls, and a cache of its own."""
    calls = []

    def compile_file(path, expressions, architecture, options=()):
        calls.append((path.name, *expressions, architecture))
        code = f"code {len(calls)}".encode()
        return nvrtc.Compiled(code, {expression: f"_Z{len(calls)}" for expression in expressions}, {})

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(nvrtc, "compile_file", compile_file)
    monkeypatch.setattr(nvrtc, "version", lambda: (12, 9))
    return calls


def test_machine_code_is_made_once(compiler):
    for _ in range(2):
        code, name = cupy_device.cubin(kernel("scale_v1"), "scale_v1<float, int>", 80)
        assert (code.read_bytes(), name) == (b"code 1", "_Z1")
    assert compiler == [("scale.cu", "scale_v1<float, int>", 80)]
    assert sorted(path.suffix for path in code.parent.iterdir()) == [".cubin", ".name"]


def test_another_instance_architecture_compiler_or_header_is_made_anew(compiler, cuda_files, monkeypatch):
    def made(expression="scale_v1<float, int>", architecture=80):
        return cupy_device.cubin(kernel("scale_v1"), expression, architecture)[0].read_bytes()

    assert made() == b"code 1"
    assert made("scale_v1<__half, int>") == b"code 2"
    assert made(architecture=90) == b"code 3"
    monkeypatch.setattr(nvrtc, "version", lambda: (13, 0))
    assert made() == b"code 4"
    header = cuda_files / "shapes.cuh"
    header.write_text(header.read_text() + "// changed\n")
    kernel.cache_clear()
    launch_source = kernel("scale_v1").source
    del launch_source.__dict__["files"]
    assert made() == b"code 5"
    assert made() == b"code 5"


def test_half_a_cache_entry_is_made_whole(compiler):
    code, _ = cupy_device.cubin(kernel("scale_v1"), "scale_v1<float, int>", 80)
    code.with_suffix(".name").unlink()
    _, name = cupy_device.cubin(kernel("scale_v1"), "scale_v1<float, int>", 80)
    assert name == "_Z2"
    assert code.read_bytes() == b"code 2"


# CuPy


class FakeCupy:
    """As much of CuPy as the device asks for."""

    class ndarray(np.ndarray):
        device = type("Device", (), {"id": 0})()

    class cuda:
        available = True

        @classmethod
        def is_available(cls):
            return cls.available

        class Device:
            id = 0
            compute_capability = "90"
            attributes: ClassVar = {"MultiProcessorCount": 7, "MaxSharedMemoryPerBlockOptin": 100_000}
            current = 1

            def __enter__(self):
                type(self).current = self.id

            def __exit__(self, *error):
                type(self).current = 1

        class runtime:
            @staticmethod
            def getDevice():
                return FakeCupy.cuda.Device.current

    class RawModule:
        made = 0

        def __init__(self, *, path):
            type(self).made += 1
            with open(path, "rb") as file:
                self.code = file.read()

        def get_function(self, name):
            return FakeCupy.RawKernel(self.code, name)

    class RawKernel:
        """Of the device that is current when it is called, as CuPy's; it takes what every CuPy 14 takes."""

        shared_size_bytes = 1000
        made: ClassVar = {}

        def __init__(self, code, name):
            self.code, self.name, self.started = code, name, []
            self.made[name] = self

        def __call__(self, grid, block, args, *, shared_mem=0):
            assert not any(isinstance(one, np.void) for one in args), "14.0 takes no 64 bytes"
            self.started.append((FakeCupy.cuda.Device.current, grid, block, args, shared_mem))

    @staticmethod
    def empty(shape, dtype):
        return np.empty(shape, dtype).view(FakeCupy.ndarray)

    matmul = staticmethod(np.matmul)


@pytest.fixture
def cupy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", FakeCupy)
    monkeypatch.setattr(FakeCupy.RawModule, "made", 0)
    monkeypatch.setattr(FakeCupy.RawKernel, "made", {})
    return FakeCupy


def test_the_gpu_is_a_device(cupy, compiler):
    device = cupy_device.CupyDevice()
    assert (device.capability, device.multiprocessors, device.shared_memory) == (90, 7, 100_000)
    array = device.empty((2, 3), np.float32)
    assert device.holds(array)
    assert not device.holds(np.zeros(3))
    assert device.address(type("View", (), {"data": type("Memory", (), {"ptr": 48})})) == 48
    np.testing.assert_array_equal(
        device.matmul(np.eye(2), np.ones((2, 2)), np.empty((2, 2))), np.ones((2, 2))
    )


def test_a_function_is_compiled_and_loaded_once_with_all_the_shared_memory_there_is(cupy, compiler):
    device = cupy_device.CupyDevice()
    function = device.function(kernel("scale_v1"), "scale_v1<float, int>")
    assert device.function(kernel("scale_v1"), "scale_v1<float, int>") is function
    assert FakeCupy.RawModule.made == 1
    made = FakeCupy.RawKernel.made["_Z1"]
    assert made.code == b"code 1"
    assert made.max_dynamic_shared_size_bytes == 99_000


def test_a_kernel_starts_on_the_device_of_its_arrays_with_structs_every_cupy_takes(
    cupy, compiler, monkeypatch
):
    monkeypatch.setattr(cupy_device.CupyDevice, "address", lambda self, array: array.ctypes.data)
    on = Launcher(cupy_device.CupyDevice())
    x, y = (on.empty(shape, np.dtype(dtype)) for shape, dtype in (((2, 3, 4), "f2"), ((2,), "f4")))
    on.launch("spread_v1", (3,), (32,), x, None, y, 0.5, {"N": 2, "G": 1}, True, shared=8)
    ((current, grid, block, arguments, shared),) = FakeCupy.RawKernel.made["_Z1"].started
    assert (current, grid, block, shared) == (0, (3,), (32,), 8)
    assert arguments[0] is x
    assert (type(arguments[1]), arguments[1]) == (np.uintp, 0)
    shape = arguments[4]
    assert (type(shape), shape.shape) == (np.ndarray, ())
    assert shape.tobytes() == np.array([2, 1], np.int32).tobytes()
    assert [type(one) for one in (arguments[3], arguments[5])] == [np.float32, np.bool_]


def test_a_device_that_is_current_is_not_made_so(cupy, compiler, monkeypatch):
    device = cupy_device.CupyDevice()
    start = device.function(kernel("fill_v1"), "fill_v1<int>")
    monkeypatch.setattr(FakeCupy.cuda.Device, "current", 0)
    monkeypatch.setattr(FakeCupy.cuda.Device, "__enter__", None)
    assert device.empty((2,), np.float32).shape == (2,)
    np.testing.assert_array_equal(device.matmul(np.eye(2), np.eye(2), np.empty((2, 2))), np.eye(2))
    start((1,), (2,), (), shared_mem=3)
    assert FakeCupy.RawKernel.made["_Z1"].started == [(0, (1,), (2,), (), 3)]


def test_a_view_begins_where_it_should(cupy, monkeypatch):
    device = cupy_device.CupyDevice()
    monkeypatch.setattr(FakeCupy, "ndarray", lambda *arguments: arguments)
    array = type("Array", (), {"data": 4096})
    assert device.view(array, 64, (2, 3), np.float32, (16, 4)) == ((2, 3), np.float32, 4160, (16, 4))


def test_one_launcher_for_each_device(cupy, monkeypatch):
    cupy_device.launcher.cache_clear()
    found = []
    for number in (0, 1, 0, 1):
        monkeypatch.setattr(FakeCupy.cuda.Device, "current", number)
        found.append(cupy_device.launcher())
    assert isinstance(found[0].device, cupy_device.CupyDevice)
    assert found[0] is found[2] is not found[1] is found[3]
    cupy_device.launcher.cache_clear()
    assert cupy_device.launcher() is not found[3]
    cupy_device.launcher.cache_clear()
    monkeypatch.setattr(FakeCupy.cuda, "available", False)
    with pytest.raises(RuntimeError, match=r"^cuda: "):
        cupy_device.launcher()
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"^cuda: CuPy is not installed"):
        cupy_device.launcher()


def test_no_cupy_no_gpu_and_a_gpu_too_old(cupy, monkeypatch):
    monkeypatch.setattr(FakeCupy.cuda.Device, "compute_capability", "61")
    with pytest.raises(RuntimeError, match=r"the kernels need compute capability 7.0, device 0 has 6.1"):
        cupy_device.CupyDevice()
    monkeypatch.setattr(FakeCupy.cuda, "available", False)
    with pytest.raises(RuntimeError, match=r"^cuda: "):
        cupy_device.CupyDevice()
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"^cuda: CuPy is not installed"):
        cupy_device.CupyDevice()
