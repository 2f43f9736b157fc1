"""Text of others acts neither on terminals nor in spreadsheets."""

from __future__ import annotations

import json

import pytest

from gallery_db.visible_text import csv_cell, from_csv_cell, is_text, json_visible, shorten, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("Zoë 李 🙂 क्\u200dष", "Zoë 李 🙂 क्\u200dष", id="plain"),
        pytest.param("\x1b[31m\x9b\x07", r"\x1b[31m\x9b\x07", id="escape sequence"),
        pytest.param("a\r\n\tb", r"a\r\n\tb", id="lines"),
        pytest.param("\u202e\u2066\u200b", r"\u202e\u2066\u200b", id="direction"),
        pytest.param("\ud800\U000e0041", r"\ud800\U000e0041", id="half of a character, tag"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible("a\nb", keep="\n") == "a\nb"


def test_json_keeps_its_values() -> None:
    value = {"a\x9b": ["\u202e", "\U000e0041", "\ud800", "\x1b", "é"]}
    document = json_visible(json.dumps(value, ensure_ascii=False, indent=2))
    assert json.loads(document) == value
    assert is_text(document)
    assert "\x9b" not in document


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "@a", "\ta", "\ra", "'=a", "''-a", "＝1"], ids=ascii)
def test_cells_that_spreadsheets_take_for_formulas(text: str) -> None:
    assert csv_cell(text) == f"'{text}"
    assert from_csv_cell(csv_cell(text)) == text


@pytest.mark.parametrize("text", ["ann", "", "'ann", "12", "-3", "+4.5", "a=b"])
def test_other_cells_stay(text: str) -> None:
    assert csv_cell(text) == text
    assert from_csv_cell(text) == text


def test_shorten() -> None:
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abc..."
