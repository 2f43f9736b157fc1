"""Estimate the match threshold of a gallery from the gallery itself.

The error rates are those of a run, in an open set (ISO/IEC 19795-1). Each identity in turn is left out of the gallery
as a whole and plays a *stranger*: the share of its probes that would get a name is the false accept rate (FPIR, for a
gallery of this size). Each *known* person is probed with entries that were seen together (by one camera, in one visit,
in one burst of images), which are left out: the share of probes that are not nearest to their own identity, within the
threshold, is the miss rate (FNIR). A probe is one entry, like the first observation of a track, or the mean of several
entries that were seen together, like the evidence of a longer track. See docs/explanation/calibration.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gallery_db.analysis.anomalies import Anomalies, find_anomalies
from gallery_db.analysis.calibration_results import Calibration
from gallery_db.analysis.class_calibration import ClassCalibration
from gallery_db.analysis.unseen_people import UnseenPeople
from gallery_db.entry import Entry
from gallery_db.errors import GalleryError
from gallery_db.gallery import Gallery
from gallery_db.search.view import GalleryView
from gallery_db.spaces.cameras import camera_of
from gallery_db.spaces.prior import prior_of

__all__ = ["DEFAULT_PROBE_SIZE", "calibrate_gallery", "calibrate_view"]

DEFAULT_PROBE_SIZE = 5
"""Number of observations in the mean that stands for a track's evidence."""


def calibrate_gallery(
    gallery: Gallery,
    *,
    far: float | None = None,
    probe_size: int = DEFAULT_PROBE_SIZE,
    class_name: str | None = None,
    max_probes: int | None = None,
) -> tuple[Calibration, ...]:
    """Calibrate the match threshold of the open collection, separately for each class.

    Args:
        gallery: Open.
        far: The requested false accept rate, between 0 and 0.5. By default `DEFAULT_FAR`, and with few identities
            the default threshold may be kept (see `Calibration.keep_default`).
        probe_size: Number of observations in the mean that stands for a track's evidence, at least 2.
        class_name: Calibrate only this class.
        max_probes: Most probes of one kind, for a quick estimate that also skips the search for anomalies; about
            20,000 by default.

    Raises:
        GalleryError: There are no entries (of that class), or an argument is out of its range.
    """
    view, entries, embeddings = _read(gallery)
    unseen = None
    if embeddings is not None:
        unseen = UnseenPeople(view, embeddings, prior_of(gallery.model), [camera_of(entry) for entry in entries])
    return calibrate_view(
        view, entries, far=far, probe_size=probe_size, class_name=class_name, unseen=unseen, max_probes=max_probes
    )


def _read(gallery: Gallery) -> tuple[GalleryView, list[Entry], NDArray[np.float32] | None]:
    """Return a view of the gallery, and in the order of its rows the entries and their embeddings.

    The embeddings are None where the view has no space, so that its vectors are the embeddings.
    """
    while True:
        view = gallery.view()
        entries = {entry.id: entry for entry in gallery.entries()}
        plain = view if view.space is None else gallery.view(plain=True, search="exact")
        row_of = {id_: row for row, id_ in enumerate(plain.entry_ids)}
        # The gallery may change between the reads; then read all again.
        if all(id_ in entries and id_ in row_of for id_ in view.entry_ids):
            break
    embeddings = None if plain is view else plain.embeddings[[row_of[id_] for id_ in view.entry_ids]]
    return view, [entries[id_] for id_ in view.entry_ids], embeddings


def calibrate_view(
    view: GalleryView,
    entries: Sequence[Entry],
    *,
    far: float | None = None,
    probe_size: int = DEFAULT_PROBE_SIZE,
    class_name: str | None = None,
    unseen: UnseenPeople | None = None,
    max_probes: int | None = None,
) -> tuple[Calibration, ...]:
    """Calibrate as `calibrate_gallery` does, from a view and its entries in the order of the view's rows."""
    if far is not None and not 0.0 < far < 0.5:
        raise GalleryError(f"Expected a false accept rate between 0 and 0.5, found {far}.", hint="Example: 0.05.")
    if probe_size < 2:
        raise GalleryError(f"Expected probes of at least 2 observations, found {probe_size}.", hint="Example: 5.")
    columns_of: dict[str, list[int]] = {}
    for column, name in enumerate(view.identity_classes):
        columns_of.setdefault(name.casefold(), []).append(column)
    if class_name is not None:
        if class_name.casefold() not in columns_of:
            raise GalleryError(
                f"The gallery has no entries of class {class_name!r}.",
                hint=f"It has {', '.join(sorted(columns_of)) or 'no entries at all'}.",
            )
        columns_of = {class_name.casefold(): columns_of[class_name.casefold()]}
    if not columns_of:
        raise GalleryError("The gallery is empty; there is nothing to calibrate from.", hint="Ingest images first.")
    anomalies = find_anomalies(view) if max_probes is None else Anomalies((), (), (), ())
    return tuple(
        ClassCalibration(
            view, entries, np.asarray(columns_of[name]), far, probe_size, anomalies.of_class(name), unseen, max_probes
        ).calibrate()
        for name in sorted(columns_of)
    )
