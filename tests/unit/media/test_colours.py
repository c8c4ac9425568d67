"""Thumbnails of images in all colour spaces, with and without a profile."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.unit.media.thumbnailing import IMAGES, halves, made, near, saved


def test_one_bit_becomes_grey() -> None:
    checks = Image.fromarray(np.indices((512, 512)).sum(axis=0) % 2 == 0)
    assert near(made(saved(checks)).convert("RGB").getpixel((64, 64)), (128, 128, 128))


def test_cmyk() -> None:
    image = Image.new("CMYK", (300, 200), (0, 255, 255, 0))
    for form in ("JPEG", "TIFF"):
        thumbnail = made(saved(image, form))
        assert thumbnail.mode == "RGB"
        assert near(thumbnail.getpixel((60, 40)), (255, 0, 0), 40)


def test_another_colour_space_is_turned_into_srgb() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    lab = Image.new("LAB", (200, 200), (180, 128, 128))
    assert made(saved(lab, "TIFF", icc_profile=profile)).size == (128, 128)
    assert made(saved(halves(), icc_profile=b"no profile at all")).size == (128, 64)
    wrong_mode = saved(Image.new("CMYK", (300, 200), (0, 255, 255, 0)), "TIFF", icc_profile=profile)
    assert made(wrong_mode).mode == "RGB"


def test_a_grey_profile_is_applied() -> None:
    """Gamma 1.8: 128 is 147 of sRGB."""
    thumbnail = made((IMAGES / "icc_gray_gray.png").read_bytes())
    assert near(thumbnail.convert("RGB").getpixel((64, 64)), (147, 147, 147), 2)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_survives_a_profile(mode: str) -> None:
    profile = grey_profile() if mode == "LA" else linear_profile()
    image = Image.new("RGBA", (200, 200), (128, 128, 128, 77)).convert(mode)
    grey = 147 if mode == "LA" else 188
    assert near(made(saved(image, icc_profile=profile)).getpixel((64, 64)), (grey, grey, grey, 77), 3)


def test_the_curves_of_a_profile_count_and_not_its_name() -> None:
    """Linear light: 128 is 188 of sRGB, whatever model the header names."""
    named = saved(Image.new("RGB", (200, 200), (128, 128, 128)), icc_profile=linear_profile())
    assert near(made(named).getpixel((64, 64)), (188, 188, 188), 2)


def grey_profile() -> bytes:
    with Image.open(IMAGES / "icc_gray_gray.png") as image:
        return bytes(image.info["icc_profile"])


def linear_profile() -> bytes:
    """sRGB with the exponent 1 instead of 2.4 (s15Fixed16), which says that it is of the model "sRGB"."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[52:56] = b"sRGB"
    curve = profile.index(b"para")
    profile[curve + 8 : curve + 12] = b"\x00\x00\x00\x00"  # function type 0: a plain exponent
    profile[curve + 12 : curve + 16] = b"\x00\x01\x00\x00"
    return bytes(profile)
