"""Tensors over other libraries' memory, and theirs over minicnn's: nothing is copied."""

import ml_dtypes
import numpy as np
import pytest

import minicnn


class Foreign:
    """Another library's array, in whose place NumPy's answers."""

    def __init__(self, array, device=(1, 0)):
        self.array, self.device = array, device

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)


def test_from_another_library_on_the_cpu():
    array = np.arange(6.0).reshape(2, 3).T
    tensor = minicnn.from_dlpack(Foreign(array))
    assert tensor.device == "cpu"
    assert not tensor.requires_grad
    assert tensor.data.strides == array.strides
    array[0, 0] = 7
    assert tensor.data[0, 0] == 7
    tensor.data[1, 1] = 8
    assert array[1, 1] == 8


def test_to_another_library_on_the_cpu():
    tensor = minicnn.tensor([1.0, 2.0])
    for options in ({}, {"copy": False}, {"device": "cpu"}):
        assert np.shares_memory(np.from_dlpack(tensor, **options), tensor.data)
    assert not np.shares_memory(np.from_dlpack(tensor, copy=True), tensor.data)
    assert minicnn.from_dlpack(tensor).data.ctypes.data == tensor.data.ctypes.data


def test_a_tensor_with_a_gradient_is_not_handed_out():
    tensor = minicnn.tensor([1.0, 2.0], requires_grad=True)
    for one in (tensor, tensor * 2):
        with pytest.raises(BufferError, match=r"dlpack: .* use detach\(\)"):
            np.from_dlpack(one)
        with pytest.raises(BufferError, match=r"use detach\(\)"):
            minicnn.from_dlpack(one)
        assert np.shares_memory(np.from_dlpack(one.detach()), one.data)


def test_a_tensor_without_values():
    with minicnn.device("meta"):
        tensor = minicnn.tensor([1.0])
    for take in (np.from_dlpack, minicnn.from_dlpack):
        with pytest.raises(ValueError, match="an array on the meta device has no values"):
            take(tensor)


def test_what_is_no_array_of_a_device_here():
    with pytest.raises(
        TypeError, match=r"from_dlpack: expected an array with __dlpack__, got builtins\.list"
    ):
        minicnn.from_dlpack([1.0])
    with pytest.raises(ValueError, match="CPU or a CUDA device, got DLPack's device type 10"):
        minicnn.from_dlpack(Foreign(np.ones(2), device=(10, 0)))
    with pytest.raises(TypeError, match="the numbers must be real, got dtype complex128"):
        minicnn.from_dlpack(np.ones(2, complex))
    with pytest.raises(BufferError, match="from_dlpack: "):
        minicnn.from_dlpack(np.array(["text"]))


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("dtype", ["float32", "int64", np.dtype(ml_dtypes.bfloat16)], ids=str)
def test_both_ways_on_a_gpu(cuda, dtype):
    for number in (0, 1) if cuda.cuda.runtime.getDeviceCount() > 1 else (0,):
        with cuda.cuda.Device(number):
            array = cuda.ones((2, 3), dtype).T
        tensor = minicnn.from_dlpack(array)
        assert tensor.device == f"cuda:{number}"
        assert tensor.dtype == dtype
        assert tensor.data.data.ptr == array.data.ptr
        assert tensor.data.strides == array.strides
        back = cuda.from_dlpack(tensor)
        assert back.data.ptr == array.data.ptr
        assert back.shape == (3, 2)


@pytest.mark.usefixtures("cuda")
def test_a_device_that_is_not_there(cuda):
    with pytest.raises(ValueError, match="device 'cuda:9': the GPUs here are numbered from 0"):
        minicnn.from_dlpack(Foreign(np.ones(2), device=(2, 9)))
