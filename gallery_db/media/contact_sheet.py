"""Contact sheets: one image of probes with their nearest entries, or of many entries, to check by eye."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import atomic_path
from gallery_db.entry import Entry, Match
from gallery_db.errors import GalleryError, GtrackError, ImageError
from gallery_db.limits import shorten_drawn
from gallery_db.media.entry_pictures import read_entry_picture
from gallery_db.media.fonts import drawable
from gallery_db.media.images import read_image
from gallery_db.store.entry_ids import short_ids
from gallery_db.store.folder import holds_gallery
from gallery_db.store.record import Record
from gallery_db.store.schema import RECORD_NAME
from gallery_db.visible_text import visible

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "ContactRow",
    "IdentityRow",
    "check_sheet_path",
    "write_contact_sheet",
    "write_entry_sheet",
    "write_identity_sheet",
]

_EntryPicture = Callable[[Entry], "NDArray[np.uint8] | str"]

_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF"}
_TILE = (128, 192)  # width and height of a picture in pixels
_LETTER = 13
_CAPTION_LINE = 17
_CAPTION_HEIGHT = 5 * _CAPTION_LINE  # an id may take two lines
_GAP = 12
_BACKGROUND = (250, 250, 248)
_TEXT = (32, 33, 36)
_MUTED_TEXT = (120, 122, 128)
_NOTES_WIDTH = 560
_GRID_COLUMNS = 10
_HEADING_HEIGHT = 22
_MAX_ROWS = 200  # 200 rows are 52,000 pixels high; JPEG ends at 65,535


@dataclass(frozen=True, slots=True)
class ContactRow:
    """A row of a contact sheet: a probe and its matches.

    Attributes:
        probe: The probe's picture: a file, or (H, W, 3) uint8 in BGR order; None where there is none.
        caption: Text under the probe.
        matches: The matches of the probe, the nearest first.
        more_pictures: Further pictures of the probe, (H, W, 3) uint8 BGR.
        notes: Lines of text beside the row.
    """

    probe: str | os.PathLike[str] | NDArray[np.uint8] | None
    caption: str
    matches: Sequence[Match]
    more_pictures: Sequence[NDArray[np.uint8]] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """A row of a sheet of identities.

    Attributes:
        heading: Text above the row.
        entries: Entries of the identity, at most 10.
    """

    heading: str
    entries: Sequence[Entry]


def write_contact_sheet(
    path: str | os.PathLike[str], rows: Iterable[ContactRow], *, gallery: str | os.PathLike[str] | None = None
) -> Path:
    """Draw a row for each probe with its matches, and write the sheet.

    Each match shows the entry's picture, its identity, its cosine distance to the probe, the name of its source, and
    its id, as short as it is unambiguous. Where a picture is missing, a grey tile says so. An entry of a video shows
    its crop, ``extra["crop"]``, a path relative to the gallery's folder.

    Args:
        path: File to write: .jpg, .png, .webp, .bmp or .tif. It is replaced only when the sheet is complete.
        rows: 1 to 200 rows.
        gallery: Folder of the gallery of the matches. Their pictures are read in it, and where its images were ingested
            on this machine. Without it, the paths in the entries are read as they are.

    Returns:
        The path.

    Raises:
        GalleryError: The suffix is another one, there are no rows or too many, or the file cannot be written.
    """
    target, pillow_format = _target(path)
    content = list(rows)
    if not 1 <= len(content) <= _MAX_ROWS:
        raise GalleryError(f"Expected 1 to {_MAX_ROWS} rows on a contact sheet, found {len(content)}.")
    with _open_record(gallery) as (folder, record):
        shown = _shown_ids(record, (match.entry.id for row in content for match in row.matches))
        sheet = _draw_rows(content, _picture_reader(folder, record), shown)
    return _save(sheet, target, pillow_format)


def write_entry_sheet(
    path: str | os.PathLike[str], entries: Sequence[Entry], *, gallery: str | os.PathLike[str] | None = None
) -> Path:
    """Draw entries in a grid, each with its identity, the name of its source and its id, as short as it is unambiguous.

    Args:
        path: File to write: .jpg, .png, .webp, .bmp or .tif. It is replaced only when the sheet is complete.
        entries: 1 to 2,000 entries.
        gallery: Folder of the gallery of the entries, for their stored crops.

    Returns:
        The path.

    Raises:
        GalleryError: The suffix is another one, there are no entries or too many, or the file cannot be written.
    """
    target, pillow_format = _target(path)
    if not 1 <= len(entries) <= _MAX_ROWS * _GRID_COLUMNS:
        raise GalleryError(
            f"Expected 1 to {_MAX_ROWS * _GRID_COLUMNS} entries on a contact sheet, found {len(entries)}."
        )
    with _open_record(gallery) as (folder, record):
        shown = _shown_ids(record, (entry.id for entry in entries))
        sheet = _draw_grid(entries, _picture_reader(folder, record), shown)
    return _save(sheet, target, pillow_format)


def write_identity_sheet(
    path: str | os.PathLike[str], rows: Sequence[IdentityRow], *, gallery: str | os.PathLike[str] | None = None
) -> Path:
    """Draw a row for each identity: a heading, and entries, each with the name of its source and its id.

    Args:
        path: File to write; see `check_sheet_path`. It is replaced only when the sheet is complete.
        rows: 1 to 200 rows.
        gallery: Folder of the gallery of the entries, for their stored crops.

    Returns:
        The path.

    Raises:
        GalleryError: The suffix is another one, or the file cannot be written.
    """
    target, pillow_format = _target(path)
    with _open_record(gallery) as (folder, record):
        shown = _shown_ids(record, (entry.id for row in rows for entry in row.entries))
        sheet = _draw_identities(rows, _picture_reader(folder, record), shown)
    return _save(sheet, target, pillow_format)


def check_sheet_path(path: str | os.PathLike[str]) -> None:
    """Check that a sheet can have this name: .jpg, .png, .webp, .bmp or .tif.

    Raises:
        GalleryError: It cannot.
    """
    _target(path)


@contextmanager
def _open_record(gallery: str | os.PathLike[str] | None) -> Iterator[tuple[Path, Record | None]]:
    """Open the record of a gallery for reading; yield its folder, and None where there is no record."""
    folder = Path(gallery) if gallery is not None else Path()
    record = Record.open(folder / RECORD_NAME, write=False) if holds_gallery(folder) else None
    try:
        yield folder, record
    finally:
        if record is not None:
            record.close()


def _picture_reader(folder: Path, record: Record | None) -> _EntryPicture:
    """Return a function that returns the picture of an entry of a gallery, or words for its tile."""
    return lambda entry: _read_entry_picture(entry, folder, record)


def _shown_ids(record: Record | None, ids: Iterable[str]) -> Mapping[str, str]:
    """Return what to write for each id: unambiguous in all collections, as a sheet may be kept for long."""
    if record is None:
        return short_ids(None, (), ids)
    return short_ids(record.entries, [row.id for row in record.collections()], ids)


def _target(path: str | os.PathLike[str]) -> tuple[Path, str]:
    target = Path(path)
    pillow_format = _FORMATS.get(target.suffix.lower())
    if pillow_format is None:
        raise GalleryError(
            f"Cannot write a contact sheet to {target}: {target.suffix or 'no suffix'} is not an image suffix.",
            hint=f"Use one of {', '.join(_FORMATS)}.",
        )
    return target, pillow_format


def _save(sheet: Image, target: Path, pillow_format: str) -> Path:
    try:
        with atomic_path(target) as temporary:
            sheet.save(
                temporary, format=pillow_format, **({"quality": 90} if pillow_format in ("JPEG", "WEBP") else {})
            )
    except OSError as error:
        raise GalleryError(
            f"The contact sheet {target} cannot be written: {error.strerror or error}.",
            hint="Check that its folder exists and is writable.",
        ) from error
    return target


def _draw_grid(entries: Sequence[Entry], pictures: _EntryPicture, shown: Mapping[str, str]) -> Image:
    from PIL import Image, ImageDraw

    width, height = _TILE
    step_x, step_y = width + _GAP, height + _CAPTION_HEIGHT + _GAP
    columns = min(_GRID_COLUMNS, len(entries))
    rows = -(-len(entries) // columns)
    sheet = Image.new("RGB", (_GAP + columns * step_x, _GAP + rows * step_y), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, entry in enumerate(entries):
        corner = (_GAP + number % columns * step_x, _GAP + number // columns * step_y)
        captions = [(entry.identity, _TEXT), (_source_name(entry), _MUTED_TEXT), (shown[entry.id], _MUTED_TEXT)]
        _draw_tile(sheet, draw, corner, pictures(entry), captions)
    return sheet


def _draw_identities(rows: Sequence[IdentityRow], pictures: _EntryPicture, shown: Mapping[str, str]) -> Image:
    from PIL import Image, ImageDraw

    width, height = _TILE
    captions_height = 3 * _CAPTION_LINE
    step_x, step_y = width + _GAP, _HEADING_HEIGHT + height + captions_height + 2 * _GAP
    columns = max(len(row.entries) for row in rows)
    sheet = Image.new("RGB", (_GAP + max(columns, 3) * step_x, _GAP + len(rows) * step_y), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        y = _GAP + number * step_y
        _draw_text(draw, (_GAP, y), row.heading, _TEXT, sheet.width - 2 * _GAP)
        for column, entry in enumerate(row.entries):
            captions = [(_source_name(entry), _MUTED_TEXT), (shown[entry.id], _MUTED_TEXT)]
            corner = (_GAP + column * step_x, y + _HEADING_HEIGHT)
            _draw_tile(sheet, draw, corner, pictures(entry), captions)
    return sheet


def _draw_rows(rows: list[ContactRow], pictures: _EntryPicture, shown: Mapping[str, str]) -> Image:
    from PIL import Image, ImageDraw

    probes = 1 + max(len(row.more_pictures) for row in rows)
    columns = probes + max(len(row.matches) for row in rows)
    notes_width = _NOTES_WIDTH if any(row.notes for row in rows) else 0
    width, height = _TILE
    step_x, step_y = width + _GAP, height + _CAPTION_HEIGHT + _GAP
    sheet = Image.new("RGB", (_GAP + columns * step_x + _GAP + notes_width, _GAP + len(rows) * step_y), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, row in enumerate(rows):
        y = _GAP + index * step_y
        _draw_tile(sheet, draw, (_GAP, y), _probe_picture(row), [("probe", _MUTED_TEXT), (row.caption, _TEXT)])
        for column, picture in enumerate(row.more_pictures, 1):
            _draw_tile(sheet, draw, (_GAP + column * step_x, y), picture, [])
        for number, note in enumerate(row.notes):
            colour = _MUTED_TEXT if number else _TEXT
            _draw_text(draw, (2 * _GAP + columns * step_x, y + 18 * number), note, colour, _NOTES_WIDTH)
        # A line separates the probe from its matches.
        line = _GAP + probes * step_x
        draw.line([(line, y), (line, y + height)], fill=(205, 205, 205), width=2)
        for column, match in enumerate(row.matches, probes):
            captions = [
                (match.entry.identity, _TEXT),
                (f"distance {match.distance:.3f}", _distance_colour(match.distance)),
                (_source_name(match.entry), _MUTED_TEXT),
                (shown[match.entry.id], _MUTED_TEXT),
            ]
            x = 2 * _GAP + column * step_x
            _draw_tile(sheet, draw, (x, y), pictures(match.entry), captions)
        if not row.matches:
            _draw_text(draw, (2 * _GAP + probes * step_x, y), "no match", _MUTED_TEXT, width)
    return sheet


def _draw_tile(
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
            _draw_text(draw, (x + 8, y + height // 2 - 16 + 16 * number), line, _MUTED_TEXT, width - 16)
    else:
        draw.rectangle([x, y, x + width - 1, y + height - 1], fill=(238, 238, 238))
        image = Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
        scale = min(width / image.width, height / image.height)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(image, (x + (width - size[0]) // 2, y + (height - size[1]) // 2))
    for number, (text, colour) in enumerate(captions):
        below = y + height + 4 + _CAPTION_LINE * number
        # The last caption, an id, is to be typed: it goes on in a second line and is not shortened.
        parts = _split_to_fit(draw, text, width) if number and number == len(captions) - 1 else [text]
        for lines_below, part in enumerate(parts):
            _draw_text(draw, (x, below + _CAPTION_LINE * lines_below), part, colour, width)


def _split_to_fit(draw: Any, text: str, width: int) -> list[str]:
    """Return a text as one line, or as two if it is too wide for one; the second takes the rest."""
    head = shorten_drawn(text)
    font, _ = drawable(visible(head), _LETTER)
    while len(head) > 1 and draw.textlength(visible(head), font=font) > width:
        head = head[:-1]
    return [head, text[len(head) :]] if len(head) < len(text) else [text]


def _draw_text(draw: Any, corner: tuple[int, int], text: str, colour: tuple[int, int, int], width: int) -> None:
    # Cut before it is measured: a name can have any length, and each measurement reads all of it.
    font, line = drawable(visible(" ".join(shorten_drawn(text).split())), _LETTER)
    if draw.textlength(line, font=font) > width:
        # Shortened in the middle: names of files often differ at their end.
        head, tail = line[: len(line) // 2], line[len(line) // 2 :]
        while head and tail and draw.textlength(f"{head}…{tail}", font=font) > width:
            head, tail = (head[:-1], tail) if len(head) > len(tail) else (head, tail[1:])
        line = f"{head}…{tail}"
    draw.text(corner, line, fill=colour, font=font)


def _distance_colour(distance: float) -> tuple[int, int, int]:
    if distance <= 0.25:
        return (24, 128, 56)
    return (176, 96, 0) if distance <= 0.4 else (197, 34, 31)


def _source_name(entry: Entry) -> str:
    name = Path(entry.source).name or entry.id
    return name if entry.frame is None else f"{name} frame {entry.frame}"


def _probe_picture(row: ContactRow) -> NDArray[np.uint8] | str:
    if row.probe is None:
        return "no picture"
    if isinstance(row.probe, np.ndarray):
        return row.probe
    return _read_picture(str(os.fspath(row.probe)))


def _read_entry_picture(entry: Entry, folder: Path, record: Record | None) -> NDArray[np.uint8] | str:
    try:
        return read_entry_picture(folder, entry, record=record)
    except GtrackError:
        if not entry.extra.get("crop") and (entry.frame is not None or entry.origin != "image"):
            return "from a video,\nno stored crop"
        return "picture missing\nor not readable"


def _read_picture(path: str) -> NDArray[np.uint8] | str:
    if not path or not Path(path).exists():
        return "picture missing"
    try:
        return read_image(path, smallest_side=1)
    except ImageError:
        return "picture not\nreadable"
