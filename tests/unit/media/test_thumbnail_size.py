"""The size of a thumbnail follows from the size of its image."""

import io

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gengui_stream.media.thumbnails import Limits, MadeThumbnail, fitted, make_thumbnail


@given(st.integers(1, 65_535), st.integers(1, 65_535), st.integers(16, 1024))
def test_fits_keeps_the_aspect_and_never_enlarges(width: int, height: int, side: int) -> None:
    small_width, small_height = fitted(width, height, side)
    assert 1 <= small_width <= min(side, width)
    assert 1 <= small_height <= min(side, height)
    scale = min(1.0, side / max(width, height))
    assert abs(small_width - width * scale) <= 1
    assert abs(small_height - height * scale) <= 1


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["RGB", "RGBA", "L", "P", "CMYK"]))
@settings(max_examples=40, deadline=None)
def test_the_image_made_has_the_fitted_size(width: int, height: int, mode: str) -> None:
    body = io.BytesIO()
    Image.new(mode, (width, height)).save(body, "TIFF")
    result = make_thumbnail(body.getvalue(), Limits(side=64))
    assert isinstance(result, MadeThumbnail), result
    with Image.open(io.BytesIO(result.body)) as made:
        assert made.size == (result.width, result.height) == fitted(width, height, 64)
