"""Names of identities."""

from __future__ import annotations

import pytest

from gallery_db import GalleryError
from gallery_db.names import unknown_name, unknown_number, validate_identity_name


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x00", "tab\t", "del\x7f", "\udcff", "a\u2028b"], ids=ascii)
def test_invalid_names(name: str) -> None:
    if name == "tab\t":  # blanks around a name are no part of it
        assert validate_identity_name(name) == "tab"
        return
    with pytest.raises(GalleryError):
        validate_identity_name(name)


@pytest.mark.parametrize(("number", "name"), [(0, "unknown-0000"), (7, "unknown-0007"), (12345, "unknown-12345")])
def test_unknown_names_hold_their_numbers(number: int, name: str) -> None:
    assert unknown_name(number) == name
    assert unknown_number(name) == number


@pytest.mark.parametrize("name", ["unknown-7", "unknown-0007b", "Unknown-0007", "alice", ""])
def test_other_names_hold_no_number(name: str) -> None:
    assert unknown_number(name) is None
