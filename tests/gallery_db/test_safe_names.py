"""Names of files and folders."""

from __future__ import annotations

from gallery_db.safe_names import UniqueNames


def test_many_names_alike_are_numbered_at_once() -> None:
    names = UniqueNames()
    found = [names.name_for(str(number), "same", ".jpg") for number in range(20_000)]
    assert found[:3] == ["same.jpg", "same-2.jpg", "same-3.jpg"]
    assert len(set(found)) == 20_000, "each number was tried from the first on, which took minutes"
