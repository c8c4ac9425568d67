"""A PNG of thumbnails with their prompts."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

CELL, CAPTION, GAP = 128, 30, 12
BACKGROUND, INK = (22, 24, 29), (200, 204, 212)
MOST: Final = 400
"""The maximum of thumbnails on a sheet."""

Entry = tuple[bytes, str]
"""An image file and its caption."""


def write_contact_sheet(entries: Sequence[Entry], path: Path) -> None:
    """Writes a grid that is about half as high as wide. Raises OSError when the file cannot be written."""
    shown = entries[:MOST]
    columns = max(1, min(len(shown), math.ceil(math.sqrt(len(shown) * 2))))
    rows = math.ceil(len(shown) / columns)
    size = (columns * (CELL + GAP) + GAP, rows * (CELL + CAPTION + GAP) + GAP)
    sheet = Image.new("RGB", size, BACKGROUND)
    for index, entry in enumerate(shown):
        row, column = divmod(index, columns)
        _paste(sheet, entry, GAP + column * (CELL + GAP), GAP + row * (CELL + CAPTION + GAP))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, "PNG", optimize=True)


def _paste(sheet: Image.Image, entry: Entry, left: int, top: int) -> None:
    file, caption = entry
    with Image.open(io.BytesIO(file)) as image:
        sheet.paste(image.convert("RGB"), (left + (CELL - image.width) // 2, top + (CELL - image.height) // 2))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for number, line in enumerate(_lines(caption, font)):
        pen.text((left + CELL / 2, top + CELL + 3 + number * 13), line, fill=INK, font=font, anchor="ma")


def _lines(caption: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """The prompt as at most two lines that fit below a thumbnail."""
    lines = [""]
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > CELL:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines[:2]
