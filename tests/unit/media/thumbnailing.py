"""Images, and the thumbnails made of them, for the tests of thumbnails."""

import io
from pathlib import Path

from PIL import Image

from gengui_stream.media.thumbnails import MIME_TYPE, Limits, MadeThumbnail, Refusal, Refused, make_thumbnail

IMAGES = Path(__file__).parent / "images"
LIMITS = Limits()
RED, GREEN, BLUE, CLEAR = (220, 20, 20), (20, 200, 20), (20, 20, 220), (0, 0, 0, 0)


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def made(body: bytes, limits: Limits = LIMITS) -> Image.Image:
    result = make_thumbnail(body, limits)
    assert isinstance(result, MadeThumbnail), result
    image = Image.open(io.BytesIO(result.body))
    image.load()
    assert (image.format, result.mime_type) == ("WEBP", MIME_TYPE)
    assert image.size == (result.width, result.height)
    return image


def refused(body: bytes, limits: Limits = LIMITS) -> Refusal:
    result = make_thumbnail(body, limits)
    assert isinstance(result, Refused), "a thumbnail was made"
    assert result.message
    return result.reason


def halves(size: tuple[int, int] = (400, 200)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, size[0], size[1]))
    return image


def near(pixel: object, colour: tuple[int, ...], tolerance: int = 24) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(int(a) - b) <= tolerance for a, b in zip(pixel, colour, strict=False))
