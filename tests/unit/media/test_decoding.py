"""A result is what a browser shows: faults that show nothing are none, and missing pixels always are."""

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gengui_stream.media.inspection import ImageFacts, inspect_image
from gengui_stream.media.jpeg_scans import has_all_scans
from gengui_stream.media.thumbnails import Limits, MadeThumbnail, make_thumbnail

IMAGES = Path(__file__).parent / "images"
SIZE = (120, 80)


def saved(form: str, *, mode: str = "RGB", **options: object) -> bytes:
    target = io.BytesIO()
    image = Image.effect_noise(SIZE, 80).convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    image.save(target, form, **options)
    return target.getvalue()


PNG, TRANSPARENT = saved("PNG"), saved("PNG", mode="RGBA")
JPEG, PROGRESSIVE = saved("JPEG"), saved("JPEG", progressive=True)


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", checksum)


def with_chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    header = 33
    return PNG[:header] + chunk(kind, body, crc) + PNG[header:]


SHORT = ("gAMA", "cHRM", "pHYs", "acTL", "iTXt", "eXIf", "tIME")
BOMB = zlib.compress(bytes(3_000_000))

SHOWN = {
    "text_unpacked_2_mib": (IMAGES / "png_ztxt_2mib_unpacked.png").read_bytes(),
    "jpeg_without_end": (IMAGES / "jpeg_without_eoi.jpg").read_bytes(),
    "grey_profile": (IMAGES / "icc_gray_gray.png").read_bytes(),
    "end_cut": PNG[:-5],
    "end_missing": PNG[:-12],
    "trailing_bytes": PNG + b"x" * 100,
    "text_bomb": with_chunk(b"zTXt", b"a\0\0" + BOMB),
    "international_text_bomb": with_chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB),
    "profile_bomb": with_chunk(b"iCCP", b"a\0\0" + BOMB),
    "broken_profile": with_chunk(b"iCCP", b"a\0\0rubbish"),
    "broken_text": with_chunk(b"zTXt", b"a\0\0rubbish"),
    "wrong_checksum_of_text": with_chunk(b"tEXt", b"a\0b", crc=1),
    "wrong_checksum_of_exif": with_chunk(b"eXIf", b"MM\0*", crc=1),
    **{
        f"short_{kind}": with_chunk(kind.encode(), b"x")
        for kind in ("gAMA", "cHRM", "pHYs", "acTL", "iTXt", "eXIf", "tIME")
    },
    "no_transparency": with_chunk(b"tRNS", b""),
    "baseline_without_end": JPEG[:-2],
    "half_an_end_marker": JPEG[:-1],
    "progressive_without_end": PROGRESSIVE[:-2],
    "jpeg_with_trailing_bytes": JPEG + b"x" * 100,
}


@pytest.mark.parametrize("name", SHOWN)
def test_faults_that_show_nothing_are_none(name: str) -> None:
    assert isinstance(inspect_image(SHOWN[name], 1_000_000), ImageFacts)
    assert isinstance(make_thumbnail(SHOWN[name], Limits()), MadeThumbnail)


@pytest.mark.parametrize("fault", [with_chunk(b"tIME", b"x"), with_chunk(b"zTXt", b"a\0\0" + BOMB)])
def test_a_fault_changes_no_pixel(fault: bytes) -> None:
    assert make_thumbnail(fault, Limits()) == make_thumbnail(PNG, Limits())


def test_transparency_outlives_faults_of_other_parts() -> None:
    transparent = TRANSPARENT[:33] + chunk(b"tIME", b"x") + chunk(b"iCCP", b"a\0\0" + BOMB)
    palette = saved("PNG", mode="P", transparency=128)
    at = palette.index(b"tRNS") - 4
    bomb = chunk(b"zTXt", b"a\0\0" + BOMB)
    for body in (transparent + TRANSPARENT[33:], palette[:at] + bomb + palette[at:]):
        thumbnail = make_thumbnail(body, Limits())
        assert isinstance(thumbnail, MadeThumbnail)
        assert Image.open(io.BytesIO(thumbnail.body)).mode == "RGBA"


@given(st.data(), st.sampled_from([PNG, JPEG, PROGRESSIVE]))
def test_an_image_that_lacks_pixels_is_none(drawn: st.DataObject, image: bytes) -> None:
    cut = image[: drawn.draw(st.integers(3, len(image) * 9 // 10))]
    assert _is_refused(inspect_image, cut)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"progressive": True, "restart_marker_blocks": 4}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_file_has_all_scans_only_with_its_last(mode: str, options: dict[str, object]) -> None:
    whole = saved("JPEG", mode=mode, **options)
    starts = [found.start() for found in re.finditer(b"\xff\xda", whole)]
    assert has_all_scans(whole)
    assert has_all_scans(whole[:-2])
    for start in starts:
        assert not has_all_scans(whole[:start])
        assert not has_all_scans(whole[: start + 4])


@given(st.binary(max_size=400), st.integers(0, 600))
def test_any_bytes_have_all_scans_or_not(noise: bytes, kept: int) -> None:
    assert has_all_scans(b"\xff\xd8" + noise) in {True, False}
    assert has_all_scans(PROGRESSIVE[:kept] + noise) in {True, False}


def test_a_jpeg_whose_last_pixels_are_missing_is_none() -> None:
    for lacking in (20, 40, 100):
        assert _is_refused(inspect_image, JPEG[:-lacking])


def _is_refused(inspect: Callable[[bytes, int], ImageFacts | str], body: bytes) -> bool:
    return isinstance(inspect(body, 1_000_000), str)
