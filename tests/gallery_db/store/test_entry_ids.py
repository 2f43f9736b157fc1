"""Ids as people read and type them."""

from __future__ import annotations

from gallery_db.store.entry_ids import short_ids

IDS = {
    "img-5d41402abc4b2a76b971": "img-5d41402abc4",
    "img-5d41402abcffffffffff": "img-5d41402abcf",
    "img-900150983cd24fb0d696": "img-90015098",
    "900150983cd24fb0d6963f7d28e17f72": "90015098",
    "track-69bbf4aaeed304d6-person-000007": "track-69bbf4aae-person-000007",
    "track-69bbf4aaaed304d6-person-000007": "track-69bbf4aaa-person-000007",
    "track-69bbf4aaeed304d6-person-000007-2": "track-69bbf4aa-person-000007-2",
    "door-0001": "door-0001",
    "e5": "e5",
}


def test_hashes_are_shortened_and_readable_ids_stay() -> None:
    assert short_ids(None, (), IDS) == IDS


def test_many_ids() -> None:
    ids = [f"img-{number:020x}" for number in range(1000)]
    shown = short_ids(None, (), ids)
    assert len(set(shown.values())) == 1000
