"""Bytes declared as an image: their type and size, or the reason why they are not an image."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gengui_stream.media.inspection import ImageFacts, inspect_image

MAX_PIXELS = 1_000_000


def saved(size: tuple[int, int], form: str, **options: object) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(target, form, **options)
    return target.getvalue()


PNG = saved((40, 30), "PNG", compress_level=0)


@pytest.mark.parametrize(("form", "mime_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_what_it_is_by_its_bytes(form: str, mime_type: str) -> None:
    assert inspect_image(saved((40, 30), form), MAX_PIXELS) == ImageFacts(mime_type, 40, 30)


def test_a_jpeg_that_carries_a_second_picture_is_a_jpeg() -> None:
    """Written by cameras and with gain maps; Pillow has a separate name for these."""
    second = Image.new("RGB", (40, 30))
    body = saved((40, 30), "MPO", save_all=True, append_images=[second])
    assert inspect_image(body, MAX_PIXELS) == ImageFacts("image/jpeg", 40, 30)


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF", "PDF"])
def test_other_formats_are_not_tried(form: str) -> None:
    assert inspect_image(saved((40, 30), form), MAX_PIXELS) == "neither PNG, JPEG nor WebP"


def test_too_many_pixels_are_not_decoded() -> None:
    assert inspect_image(saved((100, 10), "PNG"), 999) == "100 x 10 pixels; the limit is 999"
    assert isinstance(inspect_image(saved((100, 10), "PNG"), 1_000), ImageFacts)


def test_a_side_that_no_event_can_tell_is_refused() -> None:
    assert isinstance(inspect_image(saved((65_535, 1), "PNG"), MAX_PIXELS), ImageFacts)
    assert isinstance(inspect_image(saved((65_536, 1), "PNG"), MAX_PIXELS), str)


@given(st.integers(0, len(PNG) * 9 // 10))
def test_an_image_that_lacks_pixels_is_none(length: int) -> None:
    assert isinstance(inspect_image(PNG[:length], MAX_PIXELS), str)


@given(st.binary(max_size=300), st.sampled_from([b"", PNG[:33], b"\xff\xd8\xff", b"RIFF\x00\x00\x00\x00WEBPVP8 "]))
def test_no_bytes_raise(noise: bytes, start: bytes) -> None:
    assert isinstance(inspect_image(start + noise, MAX_PIXELS), str | ImageFacts)
