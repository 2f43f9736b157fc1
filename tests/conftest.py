"""Fixtures of all tests: a clean environment, the demo scene, the real data, and servers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from support.served import PlainServer

from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import Scene, render_scene

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove the developer's GTRACK_ variables, and use temporary cache and state folders."""
    before = dict(os.environ)
    kept = {name: value for name, value in before.items() if not name.startswith("GTRACK_")}
    os.environ.clear()
    os.environ.update(kept)
    if "GTRACK_TEST_DATA" in before:
        os.environ["GTRACK_TEST_DATA"] = before["GTRACK_TEST_DATA"]
    os.environ["GTRACK_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    os.environ["GTRACK_STATE_DIR"] = str(tmp_path_factory.mktemp("state"))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Commands that the tests start can be interrupted, also where the tests run in the background.

    A shell starts background jobs with SIGINT ignored, and child processes inherit that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of the real data; tests that need it are skipped if it is missing."""
    path = Path(os.environ.get("GTRACK_TEST_DATA", _ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"the real data is not at {path} (set GTRACK_TEST_DATA)")
    return path


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A short demo clip with its detections, gallery and truth."""
    return render_scene(tmp_path_factory.mktemp("scene"), SceneConfig(frames=160))


_NUMBERS = count()


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainServer]:
    """Chroma's own server, without a process that maintains its index."""
    with PlainServer(tmp_path_factory.mktemp("plain")) as server:
        yield server


@pytest.fixture
def served(plain_server: PlainServer) -> str:
    """The address of a served collection that does not exist yet."""
    return f"{plain_server.url}/served{next(_NUMBERS)}"


@pytest.fixture(params=["embedded", "served"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """The place of a new gallery: a folder or a server. Tests with it must pass with both."""
    if request.param == "embedded":
        return tmp_path / "g"
    return str(request.getfixturevalue("served"))
