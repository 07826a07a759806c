"""Downloading: pooch and a real server on this machine, which may lie, fail or be silent."""

import hashlib
import http.server
import logging
import sys
import threading

import pytest

from minicnn.data import loading
from minicnn.data.catalogue import SOURCES, Source
from minicnn.data.download import download
from minicnn.data.mnist import MnistFiles

pooch = pytest.importorskip("pooch", reason="pooch (the extra `download`) is not installed")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve the folder ``web``, and remember what was asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "web"))

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(pooch.get_logger(), "level", logging.ERROR)
    (tmp_path / "web").mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = asked
        running.address = f"http://127.0.0.1:{running.server_address[1]}/"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def serve(tmp_path, mirror, **files):
    folder = tmp_path / "web" / mirror
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_mirrors_are_tried_in_turn(tmp_path, server):
    serve(tmp_path, "empty")
    serve(tmp_path, "liar", a=b"something else", b=b"bb")
    serve(tmp_path, "good", a=b"aa")
    mirrors = [server.address + mirror for mirror in ("empty/", "liar/", "good/")]
    files = {"a": sha256(b"aa"), "b": sha256(b"bb")}
    folder = download("letters", files, mirrors, tmp_path / "mine")
    assert folder == tmp_path / "mine"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {"a": b"aa", "b": b"bb"}
    assert server.asked == ["/empty/a", "/liar/a", "/good/a", "/empty/b", "/liar/b"]

    download("letters", files, mirrors, folder)
    assert len(server.asked) == 5  # nothing is fetched twice
    (folder / "b").write_bytes(b"damaged since")
    download("letters", files, mirrors, folder)
    assert (folder / "b").read_bytes() == b"bb"


def test_when_no_mirror_helps_every_reason_is_named(tmp_path, server):
    serve(tmp_path, "liar", a=b"something else")
    silent = "http://127.0.0.1:1/"  # a port nobody listens on
    mirrors = [server.address + "empty/", server.address + "liar/", silent]
    with pytest.raises(OSError, match=r"^load: a could not be downloaded; ") as error:
        download("letters", {"a": sha256(b"aa")}, mirrors, tmp_path / "mine")
    message = str(error.value)
    assert f"{mirrors[0]}: 404" in message
    assert f"{mirrors[1]} sent something else" in message
    assert f"{silent}: " in message
    assert "\n" not in message
    assert list((tmp_path / "mine").iterdir()) == []  # what was wrong is not kept


def test_the_cache_is_the_default_folder(tmp_path, server, monkeypatch):
    serve(tmp_path, "good", a=b"aa")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    folder = download("letters", {"a": sha256(b"aa")}, [server.address + "good/"])
    assert folder == tmp_path / "cache" / "minicnn" / "letters"


def test_load_downloads_and_reads(tmp_path, server, monkeypatch):
    images, labels = bytes([0, 0, 8, 3, *[0, 0, 0, 1] * 3, 77]), bytes([0, 0, 8, 1, 0, 0, 0, 1, 2])
    files = {
        f"{part}-{kind}-ubyte": content
        for part in ("train", "t10k")
        for kind, content in (("images-idx3", images), ("labels-idx1", labels))
    }
    serve(tmp_path, "good", **files)
    sums = {file: sha256(content) for file, content in files.items()}
    source = Source(MnistFiles(("a", "b", "c")), sums, (f"{server.address}good/",))
    monkeypatch.setitem(SOURCES, "mnist", source)
    monkeypatch.setattr(loading, "_DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("MINICNN_DATA", str(tmp_path / "own"))
    train, test = loading.load("mnist")
    assert (train.images.item(), train.labels.item()) == (77, 2)
    assert len(test) == 1
    assert len(server.asked) == 4
    loading.load("mnist")
    assert len(server.asked) == 4


def test_without_pooch_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        ImportError, match=r"^load: 'mnist' is not .* pip install \"minicnn\[download\]"
    ) as error:
        download("mnist", {}, [], tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", SOURCES)
def test_the_catalogue(name):
    """A slip in an address or a checksum could otherwise be noticed only by downloading."""
    source = SOURCES[name]
    assert len(source.mirrors) >= 2
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in source.mirrors)
    assert all(len(sum_) == 64 and set(sum_) <= set("0123456789abcdef") for sum_ in source.files.values())
    assert len(set(source.files.values())) == len(source.files)


@pytest.mark.parametrize("name", SOURCES)
def test_the_files_of_the_catalogue_are_those_its_reader_wants(name, tmp_path):
    for file in SOURCES[name].files:
        (tmp_path / file).touch()
    assert SOURCES[name].layout.found_in(tmp_path)
