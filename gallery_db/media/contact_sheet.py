"""A picture of probes and their neighbours, for people to judge by eye."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import atomic_path
from gallery_db.entry import Entry, Match
from gallery_db.errors import GalleryError, GtrackError, ImageError
from gallery_db.media.entry_pictures import pixels_of
from gallery_db.media.images import read_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ContactRow", "write_contact_sheet", "write_entry_sheet"]

_SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF"}
_TILE = (128, 192)  # width, height of a picture, pixels
_CAPTION = 56
_GAP = 12
_PAPER = (250, 250, 248)
_INK = (32, 33, 36)
_FAINT = (120, 122, 128)
_ASIDE = 560
_COLUMNS = 10  # of a grid of entries
_MOST_ROWS = 200  # 200 rows are 52,000 pixels high; JPEG ends at 65,535


@dataclass(frozen=True, slots=True)
class ContactRow:
    """A row of a contact sheet.

    Attributes:
        probe: The probe's picture: a file, or (H, W, 3) uint8 in BGR order; None where there is none.
        caption: What to write under it.
        matches: What was found for it, the nearest first.
        more: Further pictures of the probe, (H, W, 3) uint8 BGR.
        words: Lines to write beside the row.
    """

    probe: str | os.PathLike[str] | NDArray[np.uint8] | None
    caption: str
    matches: Sequence[Match]
    more: Sequence[NDArray[np.uint8]] = ()
    words: Sequence[str] = ()


def write_contact_sheet(
    path: str | os.PathLike[str], rows: Iterable[ContactRow], *, gallery: str | os.PathLike[str] | None = None
) -> Path:
    """Draw probes with their neighbours, a row each, and write the sheet.

    A tile shows the entry's picture with its identity, its cosine similarity to the probe and its source's name.
    A picture that is gone is replaced by a tile that says so. An entry of a video shows the crop that
    ``extra["crop"]`` names, a path from the gallery's folder.

    Args:
        path: Where to; .jpg, .png, .webp, .bmp or .tif. Written beside and renamed.
        rows: At least one, at most 200.
        gallery: The folder of the gallery that the matches are of; without it, only crops with absolute paths
            are found.

    Returns:
        The path.

    Raises:
        GalleryError: The path's suffix is another, there are no rows or too many, or it cannot be written.
    """
    target, kind = _target(path)
    content = list(rows)
    if not 1 <= len(content) <= _MOST_ROWS:
        raise GalleryError(f"Expected 1 to {_MOST_ROWS} rows on a contact sheet, found {len(content)}.")
    return _save(_draw(content, _folder(gallery)), target, kind)


def write_entry_sheet(
    path: str | os.PathLike[str], entries: Sequence[Entry], *, gallery: str | os.PathLike[str] | None = None
) -> Path:
    """Draw entries as a grid of tiles, each with its identity, its source's name and its id, and write the sheet.

    Args:
        path: Where to; .jpg, .png, .webp, .bmp or .tif. Written beside and renamed.
        entries: At least one, at most 2,000.
        gallery: The folder of the gallery that the entries are of, for the pictures that it keeps.

    Returns:
        The path.

    Raises:
        GalleryError: The path's suffix is another, there are no entries or too many, or it cannot be written.
    """
    target, kind = _target(path)
    if not 1 <= len(entries) <= _MOST_ROWS * _COLUMNS:
        raise GalleryError(f"Expected 1 to {_MOST_ROWS * _COLUMNS} entries on a contact sheet, found {len(entries)}.")
    return _save(_draw_grid(entries, _folder(gallery)), target, kind)


def _folder(gallery: str | os.PathLike[str] | None) -> Path:
    return Path(gallery) if gallery is not None else Path()


def _target(path: str | os.PathLike[str]) -> tuple[Path, str]:
    target = Path(path)
    kind = _SUFFIXES.get(target.suffix.lower())
    if kind is None:
        raise GalleryError(
            f"Cannot write a contact sheet to {target}: {target.suffix or 'no suffix'} is no picture's suffix.",
            hint=f"Use one of {', '.join(_SUFFIXES)}.",
        )
    return target, kind


def _save(sheet: Image, target: Path, kind: str) -> Path:
    try:
        with atomic_path(target) as temporary:
            sheet.save(temporary, format=kind, **({"quality": 90} if kind in ("JPEG", "WEBP") else {}))
    except OSError as error:
        raise GalleryError(
            f"The contact sheet {target} cannot be written: {error.strerror or error}.",
            hint="Check that its folder exists and can be written.",
        ) from error
    return target


def _draw_grid(entries: Sequence[Entry], folder: Path) -> Image:
    from PIL import Image, ImageDraw

    width, height = _TILE
    step_x, step_y = width + _GAP, height + _CAPTION + _GAP
    columns = min(_COLUMNS, len(entries))
    rows = -(-len(entries) // columns)
    sheet = Image.new("RGB", (_GAP + columns * step_x, _GAP + rows * step_y), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, entry in enumerate(entries):
        corner = (_GAP + number % columns * step_x, _GAP + number // columns * step_y)
        captions = [(entry.identity, _INK), (_source_name(entry), _FAINT), (entry.id, _FAINT)]
        _tile(sheet, draw, corner, _entry_picture(entry, folder), captions)
    return sheet


def _draw(rows: list[ContactRow], folder: Path) -> Image:
    from PIL import Image, ImageDraw

    probes = 1 + max(len(row.more) for row in rows)
    columns = probes + max(len(row.matches) for row in rows)
    aside = _ASIDE if any(row.words for row in rows) else 0
    width, height = _TILE
    step_x, step_y = width + _GAP, height + _CAPTION + _GAP
    # The probe stands apart from its neighbours by a line.
    sheet = Image.new("RGB", (_GAP + columns * step_x + _GAP + aside, _GAP + len(rows) * step_y), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        y = _GAP + number * step_y
        _tile(sheet, draw, (_GAP, y), _probe_picture(row), [("probe", _FAINT), (row.caption, _INK)])
        for place, picture in enumerate(row.more):
            _tile(sheet, draw, (_GAP + (1 + place) * step_x, y), picture, [])
        for place, words in enumerate(row.words):
            _text(draw, (2 * _GAP + columns * step_x, y + 18 * place), words, _INK if not place else _FAINT, _ASIDE)
        line = _GAP + probes * step_x
        draw.line([(line, y), (line, y + height)], fill=(205, 205, 205), width=2)
        for place, match in enumerate(row.matches):
            captions = [
                (match.entry.identity, _INK),
                (f"similarity {match.similarity:.3f}", _colour(match.similarity)),
                (_source_name(match.entry), _FAINT),
            ]
            x = 2 * _GAP + (place + probes) * step_x
            _tile(sheet, draw, (x, y), _entry_picture(match.entry, folder), captions)
        if not row.matches:
            _text(draw, (2 * _GAP + probes * step_x, y), "nothing found", _FAINT, width)
    return sheet


def _tile(
    sheet: Image,
    draw: Any,
    corner: tuple[int, int],
    picture: NDArray[np.uint8] | str,
    captions: Sequence[tuple[str, tuple[int, int, int]]],
) -> None:
    from PIL import Image

    x, y = corner
    width, height = _TILE
    if isinstance(picture, str):
        draw.rectangle([x, y, x + width - 1, y + height - 1], fill=(232, 232, 232), outline=(200, 200, 200))
        for number, line in enumerate(picture.split("\n")):
            _text(draw, (x + 8, y + height // 2 - 16 + 16 * number), line, _FAINT, width - 16)
    else:
        draw.rectangle([x, y, x + width - 1, y + height - 1], fill=(238, 238, 238))
        image = Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
        scale = min(width / image.width, height / image.height)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(image, (x + (width - size[0]) // 2, y + (height - size[1]) // 2))
    for number, (text, colour) in enumerate(captions):
        _text(draw, (x, y + height + 4 + 17 * number), text, colour, width)


def _text(draw: Any, corner: tuple[int, int], text: str, colour: tuple[int, int, int], width: int) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(size=13)
    line = " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")
    if draw.textlength(line, font=font) > width:
        # Out of the middle: the end of a file's name tells it from its neighbours.
        head, tail = line[: len(line) // 2], line[len(line) // 2 :]
        while head and tail and draw.textlength(f"{head}…{tail}", font=font) > width:
            head, tail = (head[:-1], tail) if len(head) > len(tail) else (head, tail[1:])
        line = f"{head}…{tail}"
    draw.text(corner, line, fill=colour, font=font)


def _colour(similarity: float) -> tuple[int, int, int]:
    if similarity >= 0.75:
        return (24, 128, 56)
    return (176, 96, 0) if similarity >= 0.6 else (197, 34, 31)


def _source_name(entry: Entry) -> str:
    name = Path(entry.source).name or entry.id
    return name if entry.frame is None else f"{name} #{entry.frame}"


def _probe_picture(row: ContactRow) -> NDArray[np.uint8] | str:
    if row.probe is None:
        return "no picture"
    if isinstance(row.probe, np.ndarray):
        return row.probe
    return _read(str(os.fspath(row.probe)))


def _entry_picture(entry: Entry, folder: Path) -> NDArray[np.uint8] | str:
    try:
        return pixels_of(folder, entry)
    except GtrackError:
        if not entry.extra.get("crop") and (entry.frame is not None or entry.origin != "image"):
            return "from a video,\nno crop kept"
        return "picture is gone\nor not readable"


def _read(path: str) -> NDArray[np.uint8] | str:
    if not path or not Path(path).exists():
        return "picture is gone"
    try:
        return read_image(path, smallest_side=1)
    except ImageError:
        return "picture cannot\nbe read"
