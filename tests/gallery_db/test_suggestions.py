"""Names that a user may have meant."""

from __future__ import annotations

import pytest

from gallery_db.suggestions import did_you_mean


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("alcie", "Did you mean 'Alice'?"),
        ("bald", "Did you mean 'bald_man'?"),
        ("bald_man2", "Did you mean 'bald_man'?"),
        ("zebra", "none"),
        ("", "none"),
        ("x" * 100_000, "none"),
    ],
)
def test_did_you_mean(name: str, hint: str) -> None:
    assert did_you_mean(name, ["Alice", "bald_man", "unknown-0007"], "none") == hint
