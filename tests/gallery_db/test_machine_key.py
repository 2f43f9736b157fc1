"""Seals: made and known on this machine alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from gallery_db.machine_key import is_sealed_here, key_path, seal


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "state"))


def test_a_seal_is_for_one_purpose_and_one_content() -> None:
    assert not is_sealed_here("a", "text", "0" * 64), "no key is no reason to accept anything"
    assert not key_path().exists()
    found = seal("a", "text")
    assert seal("a", "text") == found
    assert is_sealed_here("a", "text", found)
    for purpose, content, value in (
        ("b", "text", found),
        ("a", "texts", found),
        ("a", "text", None),
        ("a", "text", "é"),
    ):
        assert not is_sealed_here(purpose, content, value)
    assert key_path().stat().st_mode & 0o777 == 0o600
    assert [path.name for path in key_path().parent.iterdir()] == ["machine-key"]


def test_another_machine_does_not_know_a_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = seal("a", "text")
    monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "other"))
    assert not is_sealed_here("a", "text", found)
    assert seal("a", "text") != found


def test_a_key_that_others_can_read_is_no_key() -> None:
    found = seal("a", "text")
    key_path().chmod(0o644)
    assert not is_sealed_here("a", "text", found)
    assert seal("a", "text") is None


def test_without_a_state_folder_there_are_no_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "file" / "state"))
    assert seal("a", "text") is None
    assert not is_sealed_here("a", "text", "0" * 64)
