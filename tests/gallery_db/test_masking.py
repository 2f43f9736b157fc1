"""Passwords and keys in addresses are shown to nobody, and stored nowhere."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.gallery import model_named
from support.processes import started

from gallery_db import Gallery, GalleryError, GalleryLockedError
from gallery_db.masking import mask_address, mask_addresses
from gallery_db.store.lock import WriterLock
from tracking.errors import OptionError

SECRET = "s3cret"
STREAM = f"rtsp://me:{SECRET}@10.0.0.5/main?key={SECRET}"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        pytest.param("no address", "no address", id="no address"),
        pytest.param("http://127.0.0.1:8000/people", "http://127.0.0.1:8000/people", id="nothing to hide"),
        pytest.param(f"video {STREAM} ended.", "video rtsp://***@10.0.0.5/main?... ended.", id="in a sentence"),
        pytest.param(f"(foo+x://me:{SECRET}@h)", "(foo+x://***@h)", id="an unknown scheme, in brackets"),
        pytest.param(f"'ftp://h/a?{SECRET}', or", "'ftp://h/a?...', or", id="a query, quoted"),
        pytest.param(f"{STREAM} {STREAM}", " ".join(["rtsp://***@10.0.0.5/main?..."] * 2), id="two"),
        pytest.param(f"rtsp://me:{SECRET}?x@h", "rtsp://***@?...", id="a password with a question mark"),
        pytest.param(f"ftp:/me:{SECRET}@h/x", "ftp:/***@h/x", id="a slash lost by pathlib"),
        pytest.param("C:/a/b@c", "C:/a/b@c", id="a drive of Windows"),
        pytest.param(f"http://a,http://me:{SECRET}@b", "http://***@b", id="without a space between"),
    ],
)
def test_masks_each_address_of_a_text(text: str, masked: str) -> None:
    assert mask_addresses(text) == masked
    assert mask_addresses(masked) == masked, "masking again changes nothing"


def test_other_text_is_not_an_address() -> None:
    assert mask_address("/a/b@c/d?e") == "/a/b@c/d?e"


@pytest.mark.parametrize("kind", [GalleryError, OptionError])
def test_every_error_is_masked(kind: type[GalleryError] | type[OptionError]) -> None:
    error = kind(f"cannot read {STREAM}.", hint=f"Try {STREAM} again.")
    assert SECRET not in f"{error!s} {error!r} {error.message} {error.hint} {error.args}"
    assert "10.0.0.5" in error.message


HOLDER = """
import sys
from pathlib import Path
from gallery_db.store.lock import WriterLock
lock = WriterLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
"""


def test_the_note_of_a_lock_has_no_password_and_is_its_owners_alone(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", model_named()):
        pass
    (tmp_path / "g" / "gallery.lock.json").write_text("{}")  # of an earlier version, readable for all
    with started("-c", HOLDER, tmp_path / "g", STREAM, line="held", stdin=subprocess.PIPE):
        note = tmp_path / "g" / "gallery.lock.json"
        assert SECRET not in note.read_text()
        assert "10.0.0.5" in json.loads(note.read_text())["command"]
        assert stat.S_IMODE(note.stat().st_mode) == 0o600
        with pytest.raises(GalleryLockedError) as caught:
            WriterLock(tmp_path / "g").acquire(0)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(
            ["run", f"foo://me:{SECRET}@10.0.0.5/x", "--detect", "builtin"], id="a video of an unknown scheme"
        ),
        pytest.param(["gallery", "list", "-g", f"http://me:{SECRET}@127.0.0.1:1"], id="a gallery"),
        pytest.param(["run", "a.mp4", "--dets-json", f"ftp://me:{SECRET}@h/x"], id="detections"),
    ],
)
def test_the_command_line_shows_no_password(tmp_path: Path, words: list[str]) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "cli.main", *words], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert process.returncode in (1, 2)
    assert "error: " in process.stderr
    assert SECRET not in process.stdout + process.stderr
    assert "***@" in process.stderr
