"""The gallery of an enrolment: opened without the run's own earlier entries, written to, checked and closed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gallery_db import Gallery, find_anomalies, match_threshold
from gallery_db.address import is_address
from gallery_db.errors import GalleryError, GtrackError
from gallery_db.opening import is_new_gallery
from gallery_db.transfer.folder_scan import is_image_tree
from tracking.enrolment.base import EnrolmentSettings
from tracking.enrolment.enroller import Enroller
from tracking.enrolment.gallery_writer import GalleryWriter
from tracking.enrolment.shared_gallery import SharedGallery
from tracking.errors import OptionError
from tracking.identification.gallery_sync import GalleryNotices
from tracking.identification.sightings import CameraSightings

if TYPE_CHECKING:
    from gallery_db.search.nearest import Search
    from gallery_db.spaces.space import EmbeddingSpace

__all__ = ["EnrolmentGallery", "EnrolmentGalleryOptions", "check_enrolment_gallery", "mislabelled_warnings"]

_MAX_COMPARED = 5000
_MAX_WARNINGS = 3


def check_enrolment_gallery(path: Path | str) -> None:
    """Refuse a gallery that cannot be enrolled into, before a model is loaded.

    Args:
        path: A folder, which need not exist, or the address of a served gallery.

    Raises:
        OptionError: It is a tree of image folders.
        GalleryFormatError: It is a file, or a folder that holds something else.
    """
    if not isinstance(path, Path):
        return
    if is_image_tree(path):
        raise OptionError(
            f"`enroll` needs a gtrack gallery, and {path} is a tree of image folders, which is only read.",
            field="gallery",
            hint=f"Make a gallery of it with: gtrack gallery ingest {path} --gallery GALLERY",
        )
    is_new_gallery(path)


def mislabelled_warnings(gallery: Gallery, ids: Collection[str]) -> list[str]:
    """Return warnings about enrolled entries that look like another identity's, the worst first.

    All entries are compared with each other (`find_anomalies`), so a gallery of more than 5,000 entries is left to
    `gtrack gallery list --suspects`.

    Args:
        gallery: The gallery with the entries in it.
        ids: Ids of the enrolled entries.
    """
    if not ids or len(gallery) > _MAX_COMPARED:
        return []
    found = [one for one in find_anomalies(gallery.view(search="exact")).mislabelled if one.entry_id in ids]
    warnings = [
        f"warning: the enrolled entry {one.entry_id} of {one.identity} is nearer to {one.other} "
        f"({one.other_distance:.2f}) than to the other entries of {one.identity} ({one.own_distance:.2f}); "
        "`gtrack gallery list --suspects` lists all such entries."
        for one in found[:_MAX_WARNINGS]
    ]
    if len(found) > _MAX_WARNINGS:
        warnings.append(f"warning: {len(found) - _MAX_WARNINGS} more enrolled entries look mislabelled.")
    return warnings


@dataclass(frozen=True, slots=True)
class EnrolmentGalleryOptions:
    """How a gallery is used by an enrolment.

    Attributes:
        run_key: Prefix of the ids of the run's own entries; None to name tracks alone, and write nothing.
        operation: Description of the run in the gallery's log.
        classes: Names of the tracked classes; None for all. Earlier entries of the run of other classes stay.
        match_threshold: Largest cosine distance at which a name is given; None for the gallery's own.
        matched_classes: Names of the classes that are matched, for the gallery's own threshold; empty for all.
        search: How the view searches; see `Gallery.view`.
    """

    run_key: str | None
    operation: str = ""
    classes: Collection[str] | None = None
    match_threshold: float | None = None
    matched_classes: Collection[str] = ()
    search: Search = "auto"


class EnrolmentGallery:
    """A gallery that tracks are named from and enrolled into.

    No other process writes to its folder meanwhile. Other processes do write to a served gallery (`is_shared`).

    Args:
        gallery: An open gallery, open for writing unless nothing is enrolled; closed by `close`, and where this fails.
        options: How it is used.
        notify: Receives one-line messages.
        space: Returns the space in which to compare; None for that of the gallery.

    Raises:
        GalleryError: It cannot be read.

    Attributes:
        gallery: The gallery.
        view: Its entries in memory, without those that the same run enrolled before.
        threshold: The distance up to which names are given, and where it comes from.
        notices: Forwards its notices to the user.
        is_shared: Whether others may change it meanwhile.
    """

    def __init__(
        self,
        gallery: Gallery,
        options: EnrolmentGalleryOptions,
        notify: Callable[[str], None],
        *,
        space: Callable[[Gallery], EmbeddingSpace | None] | None = None,
    ) -> None:
        self.gallery = gallery
        self.is_shared = is_address(gallery.location)
        self.notices = GalleryNotices(gallery, notify)
        self._notify = notify
        self._writer: GalleryWriter | None = None
        try:
            entries, vectors = gallery.with_prefix(options.run_key) if options.run_key is not None else ([], ())
            wanted = None if options.classes is None else {name.casefold() for name in options.classes}
            self._earlier = {
                entry.id: (entry, vector)
                for entry, vector in zip(entries, vectors, strict=True)
                if wanted is None or entry.class_name.casefold() in wanted
            }
            if options.run_key is not None and not self.is_shared:
                gallery.keep_adapted()
            chosen = None if space is None else space(gallery)
            self.view = gallery.view(without=self._earlier, search=options.search, space=chosen)
            self.view.prepare()
            self.threshold = match_threshold(gallery, options.match_threshold, options.matched_classes)
            if options.run_key is not None:
                self._numbers = gallery.unknown_numbers()
                earlier = [entry for entry, _ in self._earlier.values()]
                self._writer = GalleryWriter(gallery, earlier, operation=options.operation)
        except BaseException:
            gallery.close(sync=False)
            raise

    @property
    def is_writable(self) -> bool:
        """Whether tracks are enrolled into it."""
        return self._writer is not None

    def enroller(
        self,
        settings: EnrolmentSettings,
        *,
        shared: SharedGallery | None = None,
        keep_candidates: bool = False,
        sightings: CameraSightings | None = None,
    ) -> Enroller:
        """Make the enroller of one camera.

        Args:
            settings: Its settings; the run key begins with that of the gallery's options.
            shared: State shared with the enrollers of other cameras; None where there are none.
            keep_candidates, sightings: See `Enroller`.
        """
        assert self._writer is not None
        return Enroller(
            self._writer,
            self.view,
            settings,
            earlier={id_: known for id_, known in self._earlier.items() if id_.startswith(settings.run_key)},
            numbers=self._numbers,
            keep_candidates=keep_candidates,
            shared=shared,
            sightings=sightings,
        )

    def catch_up(self) -> None:
        """Read what others have changed, as far as the server answers."""
        with suppress(GalleryError):
            self.gallery.catch_up()

    def finish(self, *, last_frame: int | None, deliver: bool) -> GtrackError | None:
        """Write what is waiting, warn of entries that look mislabelled, and close the gallery.

        Args:
            last_frame: Last frame of a run that was cut short: earlier entries of later frames stay. None for a
                complete run.
            deliver: Wait until a server has the entries; else they follow when the gallery is next opened.

        Returns:
            The first error, or None.
        """
        if self._writer is None:
            self.close()
            return None
        return self._writer.finish(last_frame=last_frame, deliver=deliver, check=self._warn)

    def close(self) -> None:
        """Close the gallery with what is written so far; nothing happens after `finish`."""
        if self._writer is None:
            self.gallery.close()
        else:
            self._writer.abort()

    def _warn(self, gallery: Gallery, written: frozenset[str]) -> None:
        for warning in mislabelled_warnings(gallery, written):
            self._notify(warning)
