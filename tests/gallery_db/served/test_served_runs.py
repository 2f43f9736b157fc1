"""Runs that enrol into one served gallery at the same time, and people who correct it meanwhile."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.served import ServedHere

from gallery_db import Curator, Entry, Gallery, GalleryView
from gallery_db.search.refresh import ViewChange
from tracking import TrackingRun, TrackResult, load_embedder
from tracking.identification.gallery_source import EmbedderOptions
from tracking.options import RunOptions
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import Scene, render_scene

Names = dict[str, list[tuple[int, str]]]


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The same cast on another camera."""
    return render_scene(tmp_path_factory.mktemp("yard"), SceneConfig(frames=160, clip=1))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "state"))
    Gallery.create(tmp_path / "g", load_embedder("builtin").model).close()
    return tmp_path / "g"


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    with ServedHere(folder) as serving:
        yield serving.url


class Run:
    """An enrolling run in a thread, which does something of ours after some of its frames."""

    def __init__(self, scene: Scene, gallery: Path | str, at: Mapping[int, Callable[[], Any]], **options: Any) -> None:
        self._at = at
        self._error: BaseException | None = None
        more = {
            "enroll": "unknown",
            "grace_frames": 2,
            "classes": [0],
            "backfill": False,
            "embedder": EmbedderOptions("builtin"),
        }
        self.run = TrackingRun(scene.detections, scene.video, RunOptions(gallery=gallery, **more | options))
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        try:
            self.run.execute(progress=lambda done, total: self._at.get(done - 1, lambda: None)())
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            self._error = error

    def result(self) -> TrackResult:
        self.thread.join(120)
        if self._error is not None:
            raise self._error
        assert self.run.result is not None
        return self.run.result


def names(result: TrackResult) -> Names:
    """By track, what it was called: (frame, name)."""
    found: Names = defaultdict(list)
    for frame in result.payload["frames"]:
        for detection in frame["detections"]:
            if "gallery_id" in detection:
                found[detection["track_id"]].append((frame["frame"], detection["gallery_id"]))
    return found


def called(result: TrackResult, name: str) -> list[int]:
    """The frames in which somebody has that name."""
    return sorted(frame for some in names(result).values() for frame, one in some if one == name)


def entries(place: Path | str) -> dict[str, Entry]:
    with Gallery.open(place) as gallery:
        return {entry.id: entry for entry in gallery.entries()}


def wait_for(what: Callable[[], Any], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def replicas(folder: Path) -> list[dict[str, str]]:
    """What each replica on this machine holds now: identities by entry id."""
    found = []
    for path in (folder.parent / "state").glob("served/*/replicas/*/*/gallery.sqlite3"):
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as record:
            found.append(dict(record.execute("SELECT id, identity FROM entries").fetchall()))
    return found


def correct(folder: Path, url: str, *doings: Callable[[Curator], Any]) -> None:
    """Do something to the gallery, as a user does, and wait until every run can know of it."""
    with Gallery.open(url, write=True) as gallery:
        for do in doings:
            do(Curator(gallery))
        after = {entry.id: entry.identity for entry in gallery.entries()}
        wait_for(lambda: all(known == after for known in replicas(folder)))


def stored(folder: Path, name: str) -> list[str]:
    """The entries of a name, once there are some."""
    wait_for(lambda: any(entry.identity == name for entry in entries(folder).values()))
    return [id_ for id_, entry in entries(folder).items() if entry.identity == name]


def test_a_camera_knows_at_once_whom_another_has_enrolled(scene: Scene, yard: Scene, folder: Path, url: str) -> None:
    door_is_open, yard_is_open, door_has_stored, yard_is_done = (threading.Event() for _ in range(4))
    door = Run(
        scene,
        url,
        {
            0: lambda: (door_is_open.set(), yard_is_open.wait(60)),
            158: lambda: (door_has_stored.set(), yard_is_done.wait(60)),
        },
        source_id="door",
    )
    assert door_is_open.wait(60)

    def wait_for_door() -> None:
        door_has_stored.wait(60)
        wait_for(lambda: all("unknown-0004" in known.values() for known in replicas(folder)))

    other = Run(yard, url, {0: yard_is_open.set, 30: wait_for_door}, source_id="yard")
    result = other.result()
    assert door.thread.is_alive(), "both ran all the time"
    known = {entry.identity for entry in entries(folder).values() if entry.extra["source_id"] == "door"}
    assert known >= {"unknown-0001", "unknown-0002", "unknown-0003", "unknown-0004"}
    yard_is_done.set()
    first = door.result()
    assert len(known & {seen.identity for seen in result.sightings}) >= 3
    # Somebody on the way already had an id of their own, which is not used then.
    (track,) = [some for some in names(result).values() if some[0][0] < 20 and some[-1][1] == "unknown-0004"]
    reserved = track[0][1]
    assert reserved.startswith("unknown-1"), "of the block of numbers that the yard has reserved"
    assert [name for _, name in track] == sorted((name for _, name in track), reverse=True), "one name, then the other"
    whole = entries(url)
    assert reserved not in {entry.identity for entry in whole.values()}
    # And nobody has lost anything to the other.
    assert first.enrolment is not None
    assert result.enrolment is not None
    assert len(whole) == first.enrolment.enrolled + result.enrolment.enrolled
    at = {
        source: {entry.identity for entry in whole.values() if entry.extra["source_id"] == source}
        for source in ("door", "yard")
    }
    assert at["yard"] <= {name for some in names(result).values() for _, name in some}
    assert len(at["door"] & at["yard"]) >= 6, "whoever was at the door to the end has the name that the yard gave"
    wait_for(lambda: entries(folder) == whole)


@pytest.mark.parametrize("backfill", [False, True], ids=["as it runs", "backfill"])
def test_corrections_are_followed_and_stay(scene: Scene, folder: Path, url: str, backfill: bool) -> None:
    """In the clip unknown-0001 is seen before, while and unknown-0003 before and after they are given their names."""
    said: dict[str, Entry] = {}
    gone: list[str] = []

    def meanwhile() -> None:
        stored(folder, "unknown-0001")
        stored(folder, "unknown-0003")
        gone.extend(stored(folder, "unknown-0002"))
        correct(
            folder,
            url,
            lambda people: people.rename("unknown-0001", "alice"),
            lambda people: people.rename("unknown-0003", "carol"),
            lambda people: people.remove_identity("unknown-0002"),
        )
        said.update({i: entry for i, entry in entries(url).items() if entry.identity in ("alice", "carol")})

    result = Run(scene, url, {60: meanwhile}, backfill=backfill).result()
    assert len(said) == 2
    assert gone
    after = entries(url)
    assert {id_: after[id_] for id_ in said} == said, "what a person said of an entry is as they left it"
    assert not after.keys() & set(gone), "what they took out is out"
    left = {entry.identity for entry in after.values()}
    assert not left & {"unknown-0001", "unknown-0002", "unknown-0003"}, "nothing more comes under the old names"
    assert max(called(result, "unknown-0001"), default=0) <= 61
    assert called(result, "alice")[-1] > 80, "on the track that had the old name"
    assert called(result, "carol")[-1] > 120
    early = called(result, "unknown-0001")
    assert bool(early) != backfill
    assert (called(result, "alice")[0] < 20) == backfill, "in the end also on the frames before"
    if backfill:
        assert {name for some in names(result).values() for _, name in some} <= left | {"unknown-0002"}


def test_an_identity_that_is_merged_is_followed(scene: Scene, folder: Path, url: str) -> None:
    with Gallery.open(url, write=True) as gallery:
        vector = next(iter(load_embedder("builtin").embed([_noise()])))
        gallery.add([Entry("a", "ann")], vector[None])

    def merge() -> None:
        stored(folder, "unknown-0001")
        correct(folder, url, lambda people: people.merge(["unknown-0001"], "ann"))

    result = Run(scene, url, {60: merge}, enroll="all").result()
    track = next(some for some in names(result).values() if (80, "ann") in some)
    assert (50, "unknown-0001") in track
    own = [entry for entry in entries(url).values() if entry.identity == "ann" and entry.origin == "track"]
    assert len(own) == 2, "with --enroll all what comes later of them is stored under the new name"
    assert own[0].extra["reviewed"]
    assert "reviewed" not in own[1].extra
    assert "unknown-0001" not in {entry.identity for entry in entries(url).values()}


def _noise() -> Any:
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (128, 64, 3), dtype=np.uint8)


def test_what_is_said_of_an_earlier_runs_entries_meanwhile_stays(
    scene: Scene, folder: Path, url: str, tmp_path: Path
) -> None:
    fewer = {"reid_frequency": 40, "source_id": "door"}
    # What comes of it where nobody says anything: the second run's tracks are fewer.
    Run(scene, tmp_path / "quiet", {}, source_id="door").result()
    whole = entries(tmp_path / "quiet")
    quiet = Run(scene, tmp_path / "quiet", {}, **fewer).result()
    kept = entries(tmp_path / "quiet")
    outdated = sorted(whole.keys() - kept.keys())
    later = sorted((i for i in kept if kept[i].extra["first_frame"] > 60), key=lambda i: kept[i].extra["first_frame"])
    assert len(outdated) > 1
    assert len(later) > 1

    def meanwhile() -> None:
        correct(
            folder,
            url,
            lambda people: people.move([outdated[0]], "carol", new=True),
            lambda people: people.remove([later[0]]),
            lambda people: people.move([later[1]], "gina", new=True),
        )

    Run(scene, url, {}, source_id="door").result()
    assert entries(url).keys() == whole.keys()
    result = Run(scene, url, {20: meanwhile}, **fewer).result()
    after = entries(url)
    assert after.keys() == kept.keys() - {later[0]} | {outdated[0]}
    assert after[outdated[0]].identity == "carol"
    assert (after[later[1]].identity, after[later[1]].extra["enrolled_as"]) == ("gina", kept[later[1]].identity)
    assert quiet.enrolment is not None
    assert result.enrolment is not None
    assert (result.enrolment.enrolled, result.enrolment.redundant) == (len(kept) - 1, quiet.enrolment.redundant + 1)


@pytest.mark.parametrize(("cost", "looks"), [(0.0, 7), (0.07, 4), (1.0, 1)])
def test_following_takes_but_a_share_of_the_time(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: float, looks: int
) -> None:
    """160 frames of 0.04 s by a clock of the test's own, and a gallery that takes its time."""
    embedder = load_embedder("builtin")
    with Gallery.create(tmp_path / "known", embedder.model) as gallery:
        gallery.add([Entry("a", "ann")], embedder.embed([_noise()]))
    now, looked = 0.0, []
    refresh = GalleryView.refresh

    def slow(self: GalleryView) -> ViewChange | None:
        nonlocal now
        now += cost
        looked.append(now)
        return refresh(self)

    def frame(done: int, total: int | None) -> None:
        nonlocal now
        now += 0.04

    clocks = {"perf_counter": time.perf_counter, "process_time": time.process_time}
    for module in ("pipeline", "identification.gallery_sync"):
        monkeypatch.setattr(f"tracking.{module}.time", SimpleNamespace(monotonic=lambda: now, **clocks))
    monkeypatch.setattr(GalleryView, "refresh", slow)
    options = RunOptions(gallery=tmp_path / "known", embedder=EmbedderOptions("builtin"), classes=[0])
    TrackingRun(scene.detections, scene.video, options).execute(progress=frame)
    assert len(looked) == looks
