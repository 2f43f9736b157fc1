r"""Make text of others safe to show: in a terminal, in a picture, in a report, and in a cell of a spreadsheet.

A name, a path or a message of a file can hold characters that act instead of showing: escape sequences that a terminal
obeys, and characters that turn the direction of writing. `visible` shows them, as ``\x1b`` or ``\u202e``.
"""

from __future__ import annotations

import re

__all__ = ["csv_cell", "from_csv_cell", "is_text", "json_visible", "shorten", "visible"]

# Control characters (C0, DEL, C1), separators of lines, marks and overrides of direction, invisible format characters,
# tags, and halves of characters. The joiners U+200C and U+200D stay: scripts and emoji need them.
_ACTING = (
    "\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_ACTS = re.compile(f"[{_ACTING}]")
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")
_QUOTED = re.compile(r"'+[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a text in which characters that act instead of showing are escaped, as ``\x1b`` or ``\u202e``.

    Args:
        text: Any text.
        keep: Characters to leave as they are, such as line feeds.
    """
    if text.isascii() and text.isprintable():
        return text
    return _ACTS.sub(lambda match: match[0] if match[0] in keep else _escaped(match[0]), text)


def json_visible(document: str) -> str:
    """Return JSON with the same escapes as JSON has them: its values stay the same."""
    if document.isascii() and document.isprintable():
        return document
    return _ACTS.sub(lambda match: match[0] if match[0] in "\n\t" else _json_escaped(match[0]), document)


def is_text(text: str) -> bool:
    """Return whether a text can be written as UTF-8; the name of a file whose bytes are no UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shorten(text: str, length: int) -> str:
    """Return a text of at most `length` characters, with ``...`` where its end was cut off."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def csv_cell(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula.

    A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or the end of a line gets an apostrophe before it, unless
    it is a number. `from_csv_cell` takes it away again.
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def from_csv_cell(cell: str) -> str:
    """Return the text of a cell that `csv_cell` made."""
    return cell[1:] if _QUOTED.match(cell) else cell


def _escaped(character: str) -> str:
    code = ord(character)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    return short or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _json_escaped(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
