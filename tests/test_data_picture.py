"""Picture files of every kind, read as red, green and blue."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minicnn.data import read_picture

RED, GREEN, BLUE, GREY = (250, 10, 20), (15, 240, 30), (5, 25, 245), (90, 90, 90)
FOUR = np.array(
    [[RED, GREEN, GREY], [BLUE, GREY, RED]], np.uint8
)  # (2, 3, 3): twice as many ways to be wrong


def patches(side=16):
    """The six colours, large enough for a format that loses detail."""
    return Image.fromarray(np.kron(FOUR, np.ones((side, side, 1), np.uint8)))


def colours(found, side=16):
    """The colour in the middle of each patch, (2, 3, 3)."""
    return found.transpose(1, 2, 0)[side // 2 :: side, side // 2 :: side]


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.jpg", "a.webp", "a.gif"])
def test_formats(tmp_path, name):
    patches().save(tmp_path / name)
    for path in (tmp_path / name, str(tmp_path / name)):
        found = read_picture(path)
        assert found.dtype == np.uint8
        assert found.shape == (3, 32, 48)
        assert np.abs(colours(found).astype(int) - FOUR).max() <= (
            12 if "jpg" in name or "webp" in name else 0
        )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "P", "CMYK", "YCbCr"])
def test_modes_with_colours(tmp_path, mode):
    patches().convert(mode, palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.tif")
    assert np.abs(colours(read_picture(tmp_path / "a.tif")).astype(int) - FOUR).max() <= 2


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "I", "F"])
def test_modes_without(tmp_path, mode):
    levels = np.array(
        [[0, 255, 0], [255, 0, 255]] if mode == "1" else [[0, 51, 102], [153, 204, 255]], np.uint8
    )
    kinds = {"I;16": np.uint16(257), "I": np.int32(257), "F": np.float32(1 / 255)}
    image = Image.fromarray(levels * kinds[mode]) if mode in kinds else Image.fromarray(levels).convert(mode)
    path = tmp_path / ("a.tif" if mode in ("I", "F") else "a.png")
    image.save(path)
    np.testing.assert_array_equal(read_picture(path), np.broadcast_to(levels, (3, 2, 3)))


def test_a_dark_picture_of_16_bits_stays_dark(tmp_path):
    Image.fromarray(np.full((2, 2), 257 * 30, np.uint16)).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png") == 30).all()


def test_what_is_transparent_is_white(tmp_path):
    image = patches().convert("RGBA")
    alpha = np.kron([[255, 0, 128], [255, 255, 255]], np.ones((16, 16))).astype(np.uint8)
    image.putalpha(Image.fromarray(alpha))
    image.save(tmp_path / "a.png")
    expected = FOUR.copy()
    expected[0, 1] = 255
    expected[0, 2] = 90 * 128 / 255 + 255 * 127 / 255
    assert np.abs(colours(read_picture(tmp_path / "a.png")).astype(int) - expected).max() <= 1


def test_a_palette_with_a_transparent_entry(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([*RED, *BLUE])
    image.save(tmp_path / "a.gif", transparency=1)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.gif")[:, 0].T, [RED, (255, 255, 255)])


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, FOUR),
        (2, FOUR[:, ::-1]),
        (3, FOUR[::-1, ::-1]),
        (4, FOUR[::-1]),
        (5, FOUR.transpose(1, 0, 2)),
        (6, np.rot90(FOUR)),
        (7, FOUR[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(FOUR, -1)),
    ],
)
def test_a_camera_held_in_any_way(tmp_path, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").transpose(1, 2, 0), FOUR)


def test_of_an_animation_the_first(tmp_path):
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("white", "black"))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert (read_picture(tmp_path / "a.gif") == 255).all()


# What cannot be read


def test_no_such_file(tmp_path):
    with pytest.raises(ValueError, match=r"^read_picture: there is no file '.*nowhere\.png'$"):
        read_picture(tmp_path / "nowhere.png")


@pytest.mark.parametrize("content", [b"", b"a text", bytes(1000)])
def test_no_picture(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"^read_picture: '.*a\.png' is no readable picture"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"^read_picture: '.*' is no readable picture"):
        read_picture(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(
        ValueError, match=r"^read_picture: '.*' is no readable picture .it is no regular file"
    ):
        read_picture(tmp_path / "a.png")


def test_values_that_are_not_finite(tmp_path):
    Image.fromarray(np.full((9, 9), np.inf, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"is no readable picture \(it holds values that are not finite\)"):
        read_picture(tmp_path / "a.tif")


def test_a_picture_far_too_large(tmp_path, monkeypatch):
    patches().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"^read_picture: '.*' has more than the 1,000 pixels allowed$"):
        read_picture(tmp_path / "a.png")


@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_picture_is_read_or_is_a_value_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / data.draw(st.sampled_from(["b.png", "b.jpg", "b.gif", "b.tif"]))
    patches(8).save(path)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        found = read_picture(path)
    except ValueError as error:
        assert str(error).startswith("read_picture: ")  # noqa: PT017
    else:
        assert found.shape[0] == 3
        assert found.dtype == np.uint8


def test_no_other_program_is_started_for_a_picture(tmp_path):
    (tmp_path / "a.eps").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(ValueError, match=r"a\.eps' is no readable picture \(cannot identify"):
        read_picture(tmp_path / "a.eps")
