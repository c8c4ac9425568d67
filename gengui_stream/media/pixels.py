"""Converts decoded images to eight-bit sRGB: mode, size, colours, orientation."""

import io
from typing import Final

import numpy as np
from PIL import ExifTags, Image, ImageCms

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation: the operation that makes the image upright."""

_PROFILE_MODES: Final = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}
"""The mode of the colours that a profile describes, by its signature (ICC.1:2022, table 19)."""


def displayable(image: Image.Image) -> Image.Image:
    """The image in a mode that can be scaled: L, RGB, RGBA or CMYK."""
    if image.mode in {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}:
        return _eight_bit(image)
    if image.mode in {"RGBA", "PA", "LA", "La", "RGBa"} or "transparency" in image.info:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in {"L", "RGB", "CMYK"} else image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow would clip. 16-bit values lose their lower byte; wider ones and floats are scaled to their own range."""
    values = np.asarray(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and values.min() >= 0 and values.max() <= 0xFFFF):
        return Image.fromarray((values >> 8).astype(np.uint8))
    wide = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    low, high = float(wide.min()), float(wide.max())
    return Image.fromarray(((wide - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))


def shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Averages whole pixels first, then interpolates: fast, and without aliasing."""
    if image.size == size:
        return image
    if image.mode == "RGBA":  # colours are weighted by opacity, or invisible ones would bleed into the edges
        return image.convert("RGBa").resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0).convert("RGBA")
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.0)


def in_srgb(small: Image.Image, original: Image.Image) -> Image.Image:
    """Applies the file's colour profile, if it has a valid one. Cheap on the small image."""
    profile = original.info.get("icc_profile")
    if isinstance(profile, bytes):
        try:
            return _by_profile(small, profile)
        except (ImageCms.PyCMSError, OSError, ValueError):  # an invalid profile, or one for another mode
            pass
    return small.convert("RGB") if small.mode == "CMYK" else small


def _by_profile(small: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    colours = small.convert(_PROFILE_MODES.get(source.profile.xcolor_space, small.mode))
    changed = ImageCms.profileToProfile(colours, source, target, outputMode="RGB")
    if changed is None:
        raise ValueError("the profile was not applied")
    if small.mode == "RGBA":
        changed.putalpha(small.getchannel("A"))
    return changed


def upright(small: Image.Image, original: Image.Image) -> Image.Image:
    """Applies the EXIF orientation."""
    turn = _TURNS.get(_orientation(original))
    return small if turn is None else small.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - broken EXIF is common, raises any exception, and does not prevent a thumbnail
        return 1
    return found if isinstance(found, int) else 1
