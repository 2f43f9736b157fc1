"""A tree of image folders as a gallery, used for the first time by two runs at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.gallery import make_people

from tracking.identification.gallery_source import EmbedderOptions, GallerySource, open_gallery_source


def test_the_second_run_waits_for_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins while the first embeds, and the first goes on when the second has said that it waits."""
    monkeypatch.setenv("GTRACK_CACHE_DIR", str(tmp_path / "cache"))
    make_people(tmp_path / "people")
    begun, waiting = threading.Event(), threading.Event()
    messages: list[str] = []

    def notify(message: str) -> None:
        messages.append(message)
        if "waiting" in message:
            waiting.set()

    def hold(done: int, total: int) -> None:
        begun.set()
        assert waiting.wait(60), messages

    def second() -> GallerySource:
        assert begun.wait(60)
        return open_gallery_source(tmp_path / "people", EmbedderOptions(weights="builtin"), notify=notify)

    with ThreadPoolExecutor(2) as pool:
        later = pool.submit(second)
        first = open_gallery_source(tmp_path / "people", EmbedderOptions(weights="builtin"), progress=hold)
        other = later.result()
    try:
        assert first.ingested is not None
        assert other.ingested is not None
        assert (first.ingested.added, other.ingested.added) == (len(first.view), 0)
        assert first.view.identities == other.view.identities
        assert len(first.view) == len(other.view) > 0
        assert any("in use by process" in message for message in messages)
    finally:
        first.gallery.close()
        other.gallery.close()
