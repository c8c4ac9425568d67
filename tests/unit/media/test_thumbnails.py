"""Every kind of image from clients and workers, and every way to break one."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gengui_stream.media.thumbnails import (
    Limits,
    Refusal,
    make_thumbnail,
)
from tests.unit.media.thumbnailing import BLUE, CLEAR, GREEN, LIMITS, RED, halves, made, near, refused, saved


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_each_format_fits_the_box(form: str) -> None:
    image = made(saved(halves(), form)).convert("RGB")
    assert image.size == (128, 64)
    assert near(image.getpixel((10, 30)), RED)
    assert near(image.getpixel((118, 30)), BLUE)


def test_is_never_enlarged() -> None:
    assert made(saved(halves((40, 20)))).size == (40, 20)


@pytest.mark.parametrize("size", [(5000, 3), (3, 5000)])
def test_a_line_keeps_one_pixel(size: tuple[int, int]) -> None:
    thumbnail = made(saved(Image.new("RGB", size, GREEN)))
    assert sorted(thumbnail.size) == [1, 128]


UPRIGHT = {1: (False, False, False), 2: (False, True, False), 3: (False, True, True), 4: (False, False, True)}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_turns_it_upright(orientation: int, form: str) -> None:
    upright = Image.new("RGB", (320, 160), GREEN)
    upright.paste(RED, (0, 0, 160, 80))  # the red corner is at the upper left when it is seen rightly
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright if orientation == 1 else upright.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    thumbnail = made(saved(stored, form, exif=exif)).convert("RGB")
    assert thumbnail.size == (128, 64)
    assert near(thumbnail.getpixel((20, 10)), RED, 40)
    assert near(thumbnail.getpixel((108, 54)), GREEN, 40)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_is_no_reason_to_show_nothing() -> None:
    assert made(saved(halves(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")).size == (128, 64)


def test_alpha_stays_and_what_is_invisible_does_not_bleed() -> None:
    image = Image.new("RGBA", (400, 400), (0, 255, 0, 0))
    image.paste((*RED, 255), (0, 0, 205, 400))
    thumbnail = made(saved(image))
    assert thumbnail.mode == "RGBA"
    assert near(thumbnail.getpixel((20, 60)), (*RED, 255))
    assert near(thumbnail.getpixel((120, 60)), CLEAR, 255)
    pixels = np.asarray(thumbnail)
    visible = pixels[pixels[..., 3] > 100]
    assert visible[:, 1].max() < 110, "invisible green bled into the edge"


def test_grey_with_alpha_and_palette_with_transparency() -> None:
    grey = made(saved(Image.new("LA", (300, 300), (180, 90))))
    assert grey.mode == "RGBA"
    assert near(grey.getpixel((5, 5)), (180, 180, 180, 90))
    palette = Image.new("P", (300, 300), 1)
    palette.putpalette([0, 0, 0, *RED])
    palette.paste(0, (0, 0, 150, 300))
    thumbnail = made(saved(palette, transparency=0))
    assert near(thumbnail.getpixel((100, 60)), (*RED, 255))
    assert near(thumbnail.getpixel((20, 60)), CLEAR)


def test_palette_is_averaged_not_picked() -> None:
    stripes = Image.fromarray((np.indices((512, 512))[1] % 2).astype(np.uint8), "L").convert("P")
    stripes.putpalette([0, 0, 0, 255, 255, 255])
    assert near(made(saved(stripes)).convert("RGB").getpixel((64, 64)), (128, 128, 128))


def test_rgb_with_a_transparent_colour() -> None:
    body = saved(halves(), transparency=RED)
    assert near(made(body).getpixel((10, 30)), CLEAR, 60)


@pytest.mark.parametrize(("form", "dtype"), [("PNG", np.uint16), ("TIFF", np.uint16), ("TIFF", np.int32)])
def test_sixteen_bits_keep_their_tones(form: str, dtype: type[np.generic]) -> None:
    ramp = np.linspace(0, 65535, 512).astype(dtype)
    body = saved(Image.fromarray(np.tile(ramp, (256, 1))), form)
    tones = np.asarray(made(body).convert("L"))[32]
    assert tones[3] < 16
    assert 110 < tones[64] < 146
    assert tones[-3] > 240


def test_floats_are_stretched_over_their_range() -> None:
    values = np.tile(np.linspace(-3, 9, 256, dtype=np.float32), (256, 1))
    values[0, 0] = np.nan
    tones = np.asarray(made(saved(Image.fromarray(values), "TIFF")).convert("L"))[64]
    assert tones[2] < 24
    assert tones[-2] > 230


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame(form: str) -> None:
    frames = [Image.new("RGB", (200, 100), colour) for colour in (RED, BLUE, GREEN)]
    body = saved(frames[0], form, save_all=True, append_images=frames[1:], duration=50)
    assert near(made(body).convert("RGB").getpixel((60, 30)), RED)


def png_of_size(width: int, height: int) -> bytes:
    """A header that declares this number of pixels, with almost no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(8001, 8000), (12_000, 9_000), (60_000, 60_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_before_they_are_decoded(size: tuple[int, int]) -> None:
    assert refused(png_of_size(*size)) == Refusal.TOO_MANY_PIXELS


def test_bombs_are_refused_also_where_the_warning_is_an_error() -> None:
    assert refused(png_of_size(12_000, 9_000)) == Refusal.TOO_MANY_PIXELS


def test_the_limits_are_the_callers() -> None:
    body = saved(halves())
    assert refused(body, Limits(max_bytes=len(body) - 1)) == Refusal.TOO_LARGE
    assert refused(body, Limits(max_pixels=400 * 200 - 1)) == Refusal.TOO_MANY_PIXELS
    assert made(body, Limits(side=16, max_bytes=len(body), max_pixels=400 * 200)).size == (16, 8)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(form: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8))
    body = saved(noise, form)
    assert refused(body[: int(len(body) * share)]) in {Refusal.TRUNCATED, Refusal.UNREADABLE}


def test_reasons_tell_the_cases_apart() -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8))
    assert refused(saved(noise, "JPEG")[:9000]) == Refusal.TRUNCATED
    assert refused(saved(noise)[:60_000]) == Refusal.TRUNCATED
    assert refused(b"") == Refusal.TRUNCATED
    assert refused(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == Refusal.UNSUPPORTED
    assert refused(b"%PDF-1.7 ...") == Refusal.UNSUPPORTED
    assert refused(b"\xef\xbb\xbf  <?xml version='1.0'?><svg/>") == Refusal.UNSUPPORTED
    assert refused(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic") == Refusal.UNSUPPORTED
    assert refused(b"\xff\x0a" + b"\x00" * 60) == Refusal.UNSUPPORTED, "JPEG XL"
    assert refused(b"P6\n1 1\n255\nabc") == Refusal.UNSUPPORTED
    assert refused(b"not an image at all") == Refusal.UNREADABLE
    assert refused(b"\0" * 100_000) == Refusal.UNREADABLE


@given(st.binary(max_size=2000))
@settings(max_examples=200, deadline=None)
def test_garbage_never_raises(body: bytes) -> None:
    make_thumbnail(body, LIMITS)


SAMPLES = [saved(halves((90, 60)), form) for form in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")]


@given(st.sampled_from(SAMPLES), st.data())
@settings(max_examples=200, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_damaged_images_never_raise(sample: bytes, data: st.DataObject) -> None:
    body = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    make_thumbnail(bytes(body), LIMITS)
