"""Fonts for names in any script."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL import ImageFont

from gallery_db.media import fonts
from gallery_db.media.fonts import drawable


@pytest.fixture
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without any fonts."""
    monkeypatch.setattr(fonts, "_paths", lambda: ("none.ttf",))
    fonts._best_font.cache_clear()
    fonts._font.cache_clear()
    yield
    fonts._best_font.cache_clear()
    fonts._font.cache_clear()


def test_ascii_is_drawn_by_the_font_of_pillow() -> None:
    font, text = drawable("alice 0.12 #3", 14)
    assert text == "alice 0.12 #3"
    assert font.getname() == ImageFont.load_default(14).getname()


def test_letters_of_other_scripts_are_drawn() -> None:
    pytest.importorskip("matplotlib", reason="has DejaVu Sans, for machines without fonts")
    font, text = drawable("Zoë Łukasz Анна Ελένη", 14)
    assert text == "Zoë Łukasz Анна Ελένη"
    none = bytes(font.getmask("\U0010ffff"))
    for character in "ëŁАЕλή":
        assert bytes(font.getmask(character)) != none, character


@pytest.mark.usefixtures("no_fonts")
def test_without_a_font_letters_lose_their_accents() -> None:
    _, text = drawable("Zoë Čapek 東", 14)
    assert text == "Zoe Capek 東"
