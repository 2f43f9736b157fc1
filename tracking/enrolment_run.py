"""Enrolment of one run: the gallery opened for it, what it is named from, and how it ends."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from gallery_db import Gallery, is_gallery, match_threshold
from gallery_db.errors import GtrackError
from tracking.enrolment import Enrol, Enroller, EnrolmentCounts
from tracking.errors import OptionError, VideoError
from tracking.galleries import EmbedderOptions, KnownPeople
from tracking.gallery_writer import GalleryWriter

if TYPE_CHECKING:
    from gallery_db import Search
    from gallery_db.model import EmbeddingModel

__all__ = ["RunEnrolment", "check_enrolment_gallery", "run_key"]

_HEAD = 1024 * 1024


def run_key(source_id: str, video: Path, frame_range: tuple[int | None, int | None], model: EmbeddingModel) -> str:
    """What makes two runs the same one for enrolment: camera, video, frames and model.

    A video is known by its name, its size and its first MiB. The key is what the ids of the run's entries begin
    with; it is ASCII and ends with ``-``.

    Raises:
        VideoError: The video cannot be read.
    """
    try:
        with video.open("rb") as stream:
            head = hashlib.sha256(stream.read(_HEAD)).hexdigest()
        size = video.stat().st_size
    except OSError as error:
        raise VideoError(f"video {video} cannot be read: {error.strerror or error}.") from error
    facts = [source_id, video.name, size, head, frame_range[0] or 0, frame_range[1], model.sha256, model.preprocessing]
    return f"track-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}-"


def check_enrolment_gallery(path: Path | str) -> None:
    """Refuse what cannot be enrolled into, before a model is loaded.

    Raises:
        OptionError: It is a tree of image folders.
    """
    if isinstance(path, str) or not path.is_dir() or is_gallery(path) or (path / "chroma.sqlite3").exists():
        return  # made anew, or opened, or refused with its own words
    if any(inner.is_dir() for inner in path.iterdir()):
        raise OptionError(
            f"--enroll needs a gtrack gallery, and {path} is a tree of image folders, which is only read.",
            hint=f"Make a gallery of it with: gtrack gallery ingest {path} --gallery GALLERY",
        )


class RunEnrolment:
    """A gallery that one run is named from and enrols into; nobody else writes to its folder meanwhile.

    Args:
        path: The gallery's folder, or the address of a served one; made for the model if there is none.
        options: The ReID model.
        mode: ``"unknown"`` or ``"all"``.
        source_id: The camera.
        video: The video.
        stream: A live source's name, where there is no video file; each run of it is one of its own.
        frame_range: The frames of it.
        fps: Its frames per second, if known.
        classes: Names of the classes that are tracked; None for all. What an earlier run enrolled of others stays.
        threshold: Largest cosine distance at which a name is given; None for the gallery's own.
        kinds: Names of the classes that are matched, for the gallery's own threshold; empty for all.
        grace_frames: Frames that a track may be out of sight.
        notify: Takes one-line messages.
        search: How the view of the gallery is to answer.

    Raises:
        OptionError: See `check_enrolment_gallery`.
        GalleryLockedError: Another process is writing to the gallery.
        GalleryError: As of `Gallery.open_or_create`.

    Attributes:
        people: The known people, without what the same run enrolled before.
        enroller: What the tracker tells of its looks.
        threshold: At which a name is given.
    """

    def __init__(
        self,
        path: Path | str,
        options: EmbedderOptions,
        *,
        mode: Enrol,
        source_id: str,
        video: Path,
        stream: str | None = None,
        frame_range: tuple[int | None, int | None],
        fps: float | None,
        classes: Collection[str] | None,
        threshold: float | None,
        kinds: Collection[str] = (),
        grace_frames: int,
        notify: Callable[[str], None],
        search: Search = "auto",
    ) -> None:
        check_enrolment_gallery(path)
        self._notify = notify
        if is_gallery(path):
            with Gallery.open(path) as there:
                embedder = options.load(there, notify)
        else:
            embedder = options.load(None, notify)
        gallery = Gallery.open_or_create(path, embedder.model)
        try:
            run_id = secrets.token_hex(6)
            if stream is None:
                key = run_key(source_id, video, frame_range, embedder.model)
            else:
                key = f"track-{hashlib.sha256(f'{source_id} {stream} {run_id}'.encode()).hexdigest()[:16]}-"
            entries, vectors = gallery.with_prefix(key)
            wanted = None if classes is None else {name.casefold() for name in classes}
            rows = [row for row, e in enumerate(entries) if wanted is None or e.class_name.casefold() in wanted]
            earlier = {entries[row].id: (entries[row], vectors[row]) for row in rows}
            view = gallery.view(without=earlier, search=search)
            view.prepare()
            found = match_threshold(gallery, threshold, kinds)
            numbers = gallery.stranger_numbers()
            self._told = 0
            self._tell(gallery)
            self._writer = GalleryWriter(
                gallery,
                [entry for entry, _ in earlier.values()],
                words=f"enrol tracks of {video.name}, camera {source_id}",
            )
        except BaseException:
            gallery.close(sync=False)
            raise
        self.people = KnownPeople(gallery, view, embedder)
        self.threshold = found
        self.enroller = Enroller(
            self._writer,
            view,
            source_id=source_id,
            run_key=key,
            mode=mode,
            threshold=found.value,
            grace_frames=grace_frames,
            source=str(video.absolute()) if stream is None else stream,
            fps=fps,
            run_id=run_id,
            earlier=earlier,
            numbers=numbers,
        )

    @property
    def counts(self) -> EnrolmentCounts:
        """What became of the tracks so far."""
        return self.enroller.counts

    def finish(self, *, complete: bool, progress: Callable[[int, int], None] | None = None) -> GtrackError | None:
        """End all tracks, store what is to be stored, and close the gallery.

        Args:
            complete: Whether the run went through. After an error or Ctrl-C nobody waits for the Chroma index,
                and what an earlier run enrolled from later frames stays.
            progress: Called with (entries done, entries in all) while the index is brought up to date.

        Returns:
            What went wrong, or None.
        """
        failure: GtrackError | None = None
        try:
            self.enroller.finish()
        except GtrackError as error:  # such as embeddings that are none; the run itself is complete without
            failure, complete = error, False
        last = None if complete else self.enroller.last_frame
        failure = self._writer.finish(last_frame=last, sync=complete, progress=progress) or failure
        self._tell(self._writer.gallery)
        return failure

    def abort(self) -> None:
        """Let go of the gallery where the run did not come to its frames; nothing happens after `finish`."""
        self._writer.abort()

    def tell(self) -> None:
        """Pass on what the gallery has had to say since."""
        self._tell(self._writer.gallery)

    def _tell(self, gallery: Gallery) -> None:
        for notice in gallery.notices[self._told :]:
            self._notify(notice)
        self._told = len(gallery.notices)
