"""A whole gallery as pictures: a row of each identity, on as many pages as needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gallery_db.errors import GalleryError
from gallery_db.media.contact_sheet import IdentityRow, check_sheet_path, write_identity_sheet

if TYPE_CHECKING:
    from gallery_db.entry import Entry
    from gallery_db.gallery import Gallery
    from gallery_db.statistics import IdentitySummary

__all__ = ["write_gallery_sheet"]

_ROWS = 20  # of a page
_PICTURES = 10  # of an identity
_MAX_PAGES = 500


def write_gallery_sheet(
    path: str | os.PathLike[str], gallery: Gallery, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Path, ...]:
    """Draw all identities of a gallery, each as a row of at most 10 pictures from all its entries.

    A page has 20 identities. Where there are more, the pages of ``people.jpg`` are ``people-01-of-12.jpg`` and so on.

    Args:
        path: File to write: .jpg, .png, .webp, .bmp or .tif. A page replaces a file of its name when it is complete.
        gallery: Open, with the collection selected.
        progress: Called with (identities done, all identities).

    Returns:
        The pages.

    Raises:
        GalleryError: The suffix is another one, the gallery has no entries, or more than 10,000 identities, or a page
            cannot be written.
    """
    check_sheet_path(path)
    identities = gallery.identities()
    pages = -(-len(identities) // _ROWS)
    if not 1 <= pages <= _MAX_PAGES:
        raise GalleryError(
            f"Expected 1 to {_MAX_PAGES * _ROWS} identities on a contact sheet, found {len(identities)}.",
            hint="A sheet can also show a single identity.",
        )
    written = []
    for page in range(pages):
        shown = identities[page * _ROWS : (page + 1) * _ROWS]
        rows = [IdentityRow(_heading(one), list(_sample(gallery, one))) for one in shown]
        written.append(write_identity_sheet(_page_path(Path(path), page + 1, pages), rows, gallery=gallery.path))
        if progress is not None:
            progress(page * _ROWS + len(shown), len(identities))
    return tuple(written)


def _page_path(path: Path, page: int, pages: int) -> Path:
    if pages == 1:
        return path
    return path.with_name(f"{path.stem}-{page:0{len(str(pages))}d}-of-{pages}{path.suffix}")


def _heading(one: IdentitySummary) -> str:
    shown = f", {_PICTURES} of them here" if one.entries > _PICTURES else ""
    return f"{one.identity} ({one.class_name}): {one.entries} {'entry' if one.entries == 1 else 'entries'}{shown}"


def _sample(gallery: Gallery, one: IdentitySummary) -> Iterator[Entry]:
    """Yield entries of an identity, from its first to its last at equal distances."""
    count = min(one.entries, _PICTURES)
    wanted = {round(number * (one.entries - 1) / max(1, count - 1)) for number in range(count)}
    for number, entry in enumerate(gallery.entries(one.identity, one.class_name)):
        if number in wanted:
            yield entry
