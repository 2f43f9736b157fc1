"""Following a gallery while names are given from it: what others change there, at bounded cost, and what it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gallery_db.errors import GalleryError

if TYPE_CHECKING:
    from gallery_db import Gallery, GalleryView, ViewChange

__all__ = ["GalleryNotices", "GallerySync"]


class GallerySync:
    """Refreshes the view of a gallery, and tells whoever keeps identities of it what has changed.

    A gallery that cannot be read is told of once; the view stays as it was.

    Args:
        view: Of the gallery.
        changed: Called with the identities as the view's columns were, and what has changed; the view shows it already,
            and is prepared for searching.
        notify: Takes one-line messages.
    """

    SHARE = 0.05
    """Share of the time that `refresh_if_due` may take."""

    def __init__(
        self,
        view: GalleryView,
        changed: Callable[[Sequence[str], ViewChange], None],
        notify: Callable[[str], None],
    ) -> None:
        self._view = view
        self._changed = changed
        self._notify = notify
        self._complaints: set[str] = set()
        self._not_before = 0.0

    def refresh_if_due(self) -> None:
        """Take in what has changed; nothing where the last time took long and is not long ago."""
        began = time.monotonic()
        if began < self._not_before:
            return
        self.refresh()
        ended = time.monotonic()
        self._not_before = ended + (ended - began) / self.SHARE

    def refresh(self) -> None:
        """Take in what has changed, now."""
        before = self._view.identities
        try:
            change = self._view.refresh()
            if change is None:
                return
            if change.reset:
                self._view.prepare()  # else the next look at a track would wait for it, and nobody would count that
            self._changed(before, change)
        except GalleryError as error:
            if str(error) not in self._complaints:
                self._complaints.add(str(error))
                self._notify(f"warning: names go on with the gallery as it was: {error}")


class GalleryNotices:
    """Passes on what a gallery comes to say, each notice once.

    Args:
        gallery: Open.
        notify: Takes one-line messages.
        forwarded: How many of its notices have been passed on already.
    """

    def __init__(self, gallery: Gallery, notify: Callable[[str], None], *, forwarded: int = 0) -> None:
        self._gallery = gallery
        self._notify = notify
        self._forwarded = forwarded

    def forward(self) -> None:
        """Pass on what is new."""
        notices = self._gallery.notices
        for notice in notices[self._forwarded :]:
            self._notify(notice)
        self._forwarded = len(notices)
