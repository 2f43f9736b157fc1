"""Image files: every format is read the right way up; unusable files are refused by name."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.gallery import picture

from gallery_db import ImageError, read_image
from gallery_db.media.images import read_image_bytes

RED = (200, 40, 30)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _plain(kind: str, mode: str = "RGB", **options: object) -> Callable[[], bytes]:
    return lambda: _saved(Image.new("RGB", (20, 30), RED).convert(mode), kind, **options)


KINDS = {
    "jpeg": _plain("JPEG", quality=95),
    "cmyk jpeg": _plain("JPEG", "CMYK", quality=95),
    "png": _plain("PNG"),
    "palette png": lambda: _saved(Image.new("RGB", (20, 30), RED).quantize(8), "PNG"),
    "rgba png": _plain("PNG", "RGBA"),
    "bmp": _plain("BMP"),
    "webp": _plain("WEBP", lossless=True),
    "tiff": _plain("TIFF"),
    "gif": _plain("GIF"),
    "ppm": _plain("PPM"),
    "animated gif": lambda: _saved(
        Image.new("RGB", (20, 30), RED), "GIF", save_all=True, append_images=[Image.new("RGB", (20, 30), "blue")]
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_is_read_as_bgr(name: str) -> None:
    array = read_image_bytes(KINDS[name]())
    assert array.shape == (30, 20, 3)
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    assert np.abs(array[15, 10].astype(int) - np.array(RED[::-1])).max() <= 8


def test_sixteen_bits_are_scaled_not_cut() -> None:
    values = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    array = read_image_bytes(_saved(Image.fromarray(values), "PNG"))
    assert np.abs(array[:, :, 0].astype(int) - values // 257).max() <= 1


def test_floats_are_scaled() -> None:
    values = np.linspace(0, 1, 400).astype(np.float32).reshape(20, 20)
    array = read_image_bytes(_saved(Image.fromarray(values), "TIFF"))
    assert array.min() == 0
    assert array.max() == 255


def test_grey_stays_grey() -> None:
    array = read_image_bytes(_saved(Image.new("L", (12, 12), 77), "PNG"))
    assert (array == 77).all()


def test_transparent_parts_are_grey() -> None:
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert (read_image_bytes(_saved(image, "PNG")) == 128).all()


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_applied(turn: int) -> None:
    upright = picture(3, (24, 32))
    methods = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how a camera of that orientation stores it
    stored = upright.transpose(Image.Transpose(methods[turn])) if turn in methods else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    array = read_image_bytes(_saved(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(array, np.asarray(upright)[:, :, ::-1])


@pytest.mark.parametrize("turn", [1, 6])
def test_large_jpeg_files_are_decoded_at_a_fraction_of_their_size(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = picture(1).resize((320, 640))
    data = _saved(stored if turn == 1 else stored.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    whole = read_image_bytes(data)
    assert whole.shape == (640, 320, 3)
    for least, shape in (((128, 64), (160, 80, 3)), ((160, 80), (160, 80, 3)), ((161, 80), (320, 160, 3))):
        reduced = read_image_bytes(data, least=least)
        assert reduced.shape == shape
        by = 640 // shape[0]
        mean = whole.reshape(shape[0], by, shape[1], by, 3).mean(axis=(1, 3))
        assert np.abs(mean - reduced).mean() < 2.0, "the same picture, the right way up"
    assert read_image_bytes(data, least=(400, 64)).shape == (640, 320, 3)
    assert read_image_bytes(_saved(stored, "PNG"), least=(128, 64)).shape == (640, 320, 3)


def test_damaged_exif_does_not_lose_the_picture() -> None:
    array = read_image_bytes(_saved(picture(1), "JPEG", exif=b"Exif\0\0II*\0nonsense\xff\xff\xff"))
    assert array.shape == (64, 32, 3)


def _bomb() -> bytes:
    data = bytearray(_saved(Image.new("L", (16, 16)), "BMP"))
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    return bytes(data)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty"),
    "text": (lambda: b"hello, this is not an image", "not an image"),
    "truncated jpeg": (lambda: _saved(picture(1, (200, 200)), "JPEG")[:-400], "truncated"),
    "jpeg with its header only": (lambda: _saved(picture(1, (200, 200)), "JPEG")[:30], "image|truncated"),
    "truncated png": (lambda: _saved(picture(1, (200, 200)), "PNG")[:-60], "truncated"),
    "damaged png": (lambda: _saved(picture(1), "PNG").replace(b"IDAT", b"IDAX"), "image|damaged"),
    "too small": (lambda: _saved(picture(1, (9, 64)), "PNG"), "9 x 64 pixels"),
    "decompression bomb": (_bomb, "too large"),
    "eps, which would start ghostscript": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "not an image",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_images_are_refused_by_name(tmp_path: Path, name: str) -> None:
    make, words = BAD[name]
    file = tmp_path / "some file.jpg"
    file.write_bytes(make())
    with pytest.raises(ImageError, match=words) as caught:
        read_image(file)
    assert str(file) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["absent.jpg", "folder.jpg"])
def test_missing_file_and_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ImageError, match=name):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a[b].png", "  spaces .png", "ünïcödé ✓ 人.png", "-x.png", "%d.png", "no suffix"])
def test_unusual_names(tmp_path: Path, name: str) -> None:
    picture(5).save(tmp_path / name, format="PNG")
    assert read_image(tmp_path / name).shape == (64, 32, 3)


def test_the_smallest_side_can_be_chosen() -> None:
    assert read_image_bytes(_saved(picture(1, (3, 4)), "PNG"), smallest_side=1).shape == (4, 3, 3)
