"""Synchronisation with a gallery during a run: changes that others make, at bounded cost, and the gallery's notices."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gallery_db.errors import GalleryError

if TYPE_CHECKING:
    from gallery_db import Gallery, GalleryView
    from gallery_db.search.refresh import ViewChange

__all__ = ["GalleryNotices", "GallerySync"]


class GallerySync:
    """Refreshes the view of a gallery, and reports what has changed.

    A gallery that cannot be read is reported once for each error; the view stays as it was.

    Args:
        view: A view of the gallery.
        changed: Called with the identities of the view's columns before the change, and with the change; the view
            shows it already, and is prepared for searching.
        notify: Receives one-line messages.
    """

    MAX_TIME_SHARE = 0.05
    """Largest share of the time that `refresh_if_due` takes."""

    def __init__(
        self,
        view: GalleryView,
        changed: Callable[[Sequence[str], ViewChange], None],
        notify: Callable[[str], None],
    ) -> None:
        self._view = view
        self._changed = changed
        self._notify = notify
        self._reported: set[str] = set()
        self._not_before = 0.0

    def refresh_if_due(self) -> None:
        """Refresh the view, unless the last refresh took long and is recent."""
        began = time.monotonic()
        if began < self._not_before:
            return
        self.refresh()
        ended = time.monotonic()
        self._not_before = ended + (ended - began) / self.MAX_TIME_SHARE

    def refresh(self) -> None:
        """Refresh the view now."""
        before = self._view.identities
        try:
            change = self._view.refresh()
            if change is None:
                return
            if change.reset:
                self._view.prepare()  # else the next search would wait for it, uncounted in the time share
            self._changed(before, change)
        except GalleryError as error:
            if str(error) not in self._reported:
                self._reported.add(str(error))
                self._notify(f"warning: names are given from the gallery as it was before: {error}")


class GalleryNotices:
    """Forwards a gallery's notices to the user, each once.

    Args:
        gallery: An open gallery.
        notify: Receives one-line messages.
        forwarded: How many of its notices have been forwarded already.
    """

    def __init__(self, gallery: Gallery, notify: Callable[[str], None], *, forwarded: int = 0) -> None:
        self._gallery = gallery
        self._notify = notify
        self._forwarded = forwarded

    def forward(self) -> None:
        """Forward the notices that are new."""
        notices = self._gallery.notices
        for notice in notices[self._forwarded :]:
            self._notify(notice)
        self._forwarded = len(notices)
