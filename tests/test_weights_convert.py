"""minicnn convert: any format in, safetensors or .npz out, whole or not at all."""

import os

import foreign
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from minicnn.cli import main
from minicnn.weights import load, read_metadata, save

W = np.arange(6, dtype="<f4").reshape(2, 3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.pth").write_bytes(foreign.zipped({"w": foreign.tensor("0", (2, 3))}, {"0": W.tobytes()}))
    return tmp_path


def test_a_pth_becomes_safetensors_and_npz(capsys):
    assert main(["convert", "in.pth", "a.safetensors"]) == 0
    size = os.path.getsize("a.safetensors")
    assert capsys.readouterr().out == f"a.safetensors: 1 tensor, 6 numbers, {size:,} bytes\n"
    np.testing.assert_array_equal(safetensors.numpy.load_file("a.safetensors")["w"], W)
    assert main(["convert", "a.safetensors", "b.npz"]) == 0
    np.testing.assert_array_equal(np.load("b.npz")["w"], W)
    assert main(["convert", "b.npz", "c.safetensors"]) == 0
    assert load("c.safetensors")["w"].tolist() == W.tolist()


def test_what_a_header_says_is_kept():
    save("ours.safetensors", {"w": W}, {"epoch": 3})
    safetensors.numpy.save_file({"w": W}, "theirs.safetensors", {"format": "pt", "license": "ß"})
    for name in ("ours", "theirs"):
        assert main(["convert", f"{name}.safetensors", f"{name}2.safetensors"]) == 0
        with (
            safetensors.safe_open(f"{name}.safetensors", "np") as a,
            safetensors.safe_open(f"{name}2.safetensors", "np") as b,
        ):
            assert a.metadata() == b.metadata()
    assert read_metadata("ours2.safetensors") == {"epoch": 3}
    with open("ours.safetensors", "rb") as a, open("ours2.safetensors", "rb") as b:
        assert a.read() == b.read()


def test_a_file_may_be_converted_onto_itself(folder):
    save("w.safetensors", {"w": W}, {"epoch": 3})
    before = (folder / "w.safetensors").read_bytes()
    assert main(["convert", "w.safetensors", "w.safetensors"]) == 0
    assert (folder / "w.safetensors").read_bytes() == before


def test_an_interrupted_conversion_leaves_the_input(folder, monkeypatch, capsys):
    before = (folder / "in.pth").read_bytes()
    os.rename("in.pth", "in.safetensors")  # the name says nothing
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda a, b: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["convert", "in.safetensors", "in.safetensors"]) == 130
    assert (folder / "in.safetensors").read_bytes() == before
    assert os.listdir(folder) == ["in.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.pth", "out.pth"], "convert: OUT must end in .safetensors or .npz, got 'out.pth'"),
        (["in.pth", "out"], "convert: OUT must end in .safetensors or .npz, got 'out'"),
        (["none", "out.npz"], "load: there is no file 'none'"),
        (["cut.pth", "out.npz"], "load: 'cut.pth' is no whole zip file"),
        (["in.pth", "none/out.npz"], "No such file or directory: none/out.npz"),
        (["in.pth", "none/out.safetensors"], "No such file or directory: none/out.safetensors"),
        (["in.pth"], "OUT"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(folder, capsys, arguments, message):
    (folder / "cut.pth").write_bytes((folder / "in.pth").read_bytes()[:-1])
    before = sorted(os.listdir(folder))
    assert main(["convert", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert sorted(os.listdir(folder)) == before
