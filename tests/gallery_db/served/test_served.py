"""Served galleries with real servers and real processes: nothing is lost, whoever dies."""

from __future__ import annotations

import http.server
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gallery import entries_named, model_named, unit_vectors
from support.served import PlainServer, ServedHere, Serving, finished, free_port, python

from gallery_db import (
    Curator,
    Gallery,
    GalleryError,
    GalleryLockedError,
    GalleryNotFoundError,
    GalleryReadOnlyError,
    GalleryServer,
    GalleryServerError,
    ModelMismatchError,
    SnapshotError,
    calibrate_gallery,
    flush_journals,
    is_gallery,
    list_snapshots,
    match_threshold,
    reset_thresholds,
    restore_snapshot,
    set_threshold,
    store_calibrations,
    stored_thresholds,
    take_snapshot,
)
from gallery_db.address import Address, is_address, parse_address
from gallery_db.analysis.thresholds import describe_outdated
from gallery_db.served.absorb import prepare_logs
from gallery_db.served.replicas import journals
from tracking import TrackingRun
from tracking.identification.gallery_source import EmbedderOptions
from tracking.options import RunOptions
from tracking.synthetic.rendering import Scene

MODEL = model_named()
Contents = dict[str, tuple[str, bytes]]


def contents(gallery: Gallery) -> Contents:
    return {entry.id: (entry.identity, gallery.get(entry.id)[1].tobytes()) for entry in gallery.entries()}


def contents_at(place: Path | str) -> Contents:
    with Gallery.open(place) as gallery:
        return contents(gallery)


def wait_for(what: Callable[[], Any], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replicas and journals of this test alone."""
    monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def folder(tmp_path: Path, state: Path) -> Path:
    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        gallery.add(entries_named(20), unit_vectors(20))
        gallery.sync_index()
    return tmp_path / "g"


# -- addresses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "written"),
    [
        ("http://host:8000", Address("host", 8000), "http://host:8000"),
        ("http://host", Address("host", 8000), "http://host:8000"),
        ("https://host/people", Address("host", 443, True, "people"), "https://host:443/people"),
        ("http:/host:1/people/", Address("host", 1, False, "people"), "http://host:1/people"),  # pathlib's doing
        ("HTTP://[::1]:9", Address("::1", 9), "http://[::1]:9"),
        ("cloud:", Address("", 443, True), "cloud:"),
        ("cloud:people", Address("", 443, True, "people"), "cloud:people"),
        ("cloud", None, None),
        ("http", None, None),
        ("/tmp/http:/x", None, None),
        ("c:/people", None, None),
    ],
)
def test_addresses(text: str, expected: Address | None, written: str | None) -> None:
    assert parse_address(text) == expected
    assert is_address(text) == (expected is not None)
    assert written is None or str(expected) == written


@pytest.mark.parametrize("text", ["http://", "http://host:x", "http://a/b/c", "http://host:99999", "http://me@host/"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(GalleryError, match="not a valid address"):
        parse_address(text)


# -- what is refused -----------------------------------------------------------------------------------------


def test_nobody_answers(state: Path) -> None:
    for ask in (Gallery.open, is_gallery, flush_journals):
        with pytest.raises(GalleryServerError, match="No gallery server answers") as caught:
            ask(f"http://127.0.0.1:{free_port()}")  # type: ignore[operator]
        assert "gtrack gallery serve" in (caught.value.hint or "")


class _Other(http.server.BaseHTTPRequestHandler):
    code = 200

    def do_GET(self) -> None:
        self.send_response(self.code)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture(params=[(200, "not a Chroma server"), (404, "HTTP 404"), (401, "refuses access")])
def other(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    handler = type("Handler", (_Other,), {"code": request.param[0]})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", request.param[1]
        server.shutdown()
        thread.join()


def test_something_else_answers(other: tuple[str, str]) -> None:
    with pytest.raises(GalleryServerError, match=other[1]):
        Gallery.open(other[0])


def test_what_a_server_does_not_have(served: str, state: Path) -> None:
    with pytest.raises((GalleryServerError, GalleryNotFoundError)):
        Gallery.open(served)
    assert not is_gallery(served)
    Gallery.create(served, MODEL).close()
    assert is_gallery(served)
    with pytest.raises(GalleryError, match="already"):
        Gallery.create(served, MODEL)
    with pytest.raises(GalleryServerError, match="nobody"):
        Gallery.open(parse_address(served).server + "/nobody")  # type: ignore[union-attr]
    with pytest.raises(ModelMismatchError, match=r"other\.pt"):
        Gallery.open(served, model=model_named("other.pt"))
    with pytest.raises(SnapshotError, match="served"):
        restore_snapshot(served, "x")


def test_headers_that_are_none(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTRACK_GALLERY_HEADERS", "Authorization: x")
    with pytest.raises(GalleryError, match="GTRACK_GALLERY_HEADERS"):
        Gallery.open(served)


def test_the_cloud_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHROMA_API_KEY", raising=False)
    with pytest.raises(GalleryError, match="key") as caught:
        Gallery.open("cloud:people")
    assert "CHROMA_API_KEY" in (caught.value.hint or "")


# -- handles -------------------------------------------------------------------------------------------------


def test_handles_see_each_other(served: str, state: Path) -> None:
    with Gallery.create(served, MODEL) as one, Gallery.open(served, write=True) as two:
        view = two.view()
        one.add(entries_named(10), unit_vectors(10))
        before = two.generation
        wait_for(lambda: two.generation > before)
        assert view.refresh()
        assert len(view) == 10
        Curator(two).rename("who0000", "alice")
        one.catch_up()
        assert [o.words for o in one.operations(1)] == ["rename 'who0000' to 'alice'"]
        one.undo()
        two.catch_up()
        assert contents(one) == contents(two)
        assert "alice" not in {person.identity for person in two.identities()}
        assert one.notices == two.notices == []


def test_a_server_is_not_asked_within_a_transaction(served: str, state: Path) -> None:
    with Gallery.create(served, MODEL) as gallery:
        for ask in (gallery.catch_up, gallery.unknown_numbers, gallery.verify, gallery.rebuild):
            with pytest.raises(GalleryError, match="within a transaction"), gallery.transaction():
                ask()
        gallery.catch_up()


def test_the_servers_index_answers_as_the_replica_does(served: str, state: Path) -> None:
    probes = unit_vectors(5, seed=9)
    with Gallery.create(served, MODEL) as gallery:
        gallery.add(entries_named(300), unit_vectors(300))
        gallery.replace(entries_named(1), unit_vectors(1, seed=77))
        gallery.remove(["e00007"])
        gallery.sync_index()
        assert gallery.stats().index_current
        exact = gallery.query(probes, top_k=5, search="exact")
        hnsw = gallery.query(probes, top_k=5, search="hnsw")
        ids = [[match.entry.id for match in some] for some in exact]
        assert [[match.entry.id for match in some] for some in hnsw] == ids
        np.testing.assert_allclose(
            [[m.distance for m in some] for some in hnsw], [[m.distance for m in some] for some in exact], atol=1e-5
        )
        assert gallery.query(probes, where={"identity": "who0003"}, search="hnsw")[0][0].entry.identity == "who0003"
        assert gallery.verify().ok


def test_a_view_may_ask_the_servers_index(served: str, state: Path) -> None:
    vectors = unit_vectors(40)
    with Gallery.create(served, model_named()) as gallery:
        gallery.add(entries_named(40), vectors)
        gallery.sync_index()
        view = gallery.view(search="hnsw")
        exact = gallery.view(search="exact").identity_distances(vectors)
        found = view.identity_distances(vectors, limit=0.3)
        assert np.array_equal(found <= 0.3, exact <= 0.3)
        assert np.allclose(found[found <= 0.3], exact[exact <= 0.3], atol=1e-5)
        assert gallery.notices == []


def test_a_threshold_is_every_clients(served: str, state: Path) -> None:
    with Gallery.create(served, MODEL) as one, Gallery.open(served, write=True) as two:
        one.add(entries_named(10), unit_vectors(10))
        set_threshold(one, 0.2)
        two.catch_up()
        assert (match_threshold(two).value, match_threshold(two).origin) == (0.2, "hand")
        told = stored_thresholds(two)["person"]
        assert (told.entries, told.identities, told.who) == (10, 2, stored_thresholds(one)["person"].who)
        assert told.change == two.record.log.last_change(two.collection_key)
        assert [operation.action for operation in two.operations()] == ["add"]
        set_threshold(two, 0.3)
        one.catch_up()
        assert match_threshold(one).value == 0.3
        with pytest.raises(GalleryReadOnlyError), Gallery.open(served) as reader:
            set_threshold(reader, 0.1)
        one.undo()
        assert reset_thresholds(one) == 1
        two.catch_up()
        assert match_threshold(two).origin == "default"


def test_an_index_that_differs_is_told_and_made_anew(served: str, plain_server: PlainServer, state: Path) -> None:
    with Gallery.create(served, MODEL) as gallery:
        gallery.add(entries_named(30), unit_vectors(30))
    with Gallery.open(served, write=True) as gallery:
        gallery._backend.link.index().delete(["e00003"])  # type: ignore[attr-defined]
        report = gallery.verify()
        assert not report.ok
        assert report.missing == ("e00003",)
        assert len(gallery.query(unit_vectors(1), top_k=30)[0]) == 30, "an answer lacks nothing nevertheless"
        gallery.rebuild()
        assert gallery.verify().ok


def test_a_snapshot_of_a_replica_is_a_gallery(served: str, state: Path, tmp_path: Path) -> None:
    with Gallery.create(served, MODEL) as gallery:
        gallery.add(entries_named(5), unit_vectors(5))
        taken = take_snapshot(gallery, "now")
        assert list_snapshots(gallery.path) == [taken]
        whole = contents(gallery)
    (tmp_path / "copy").mkdir()
    taken.path.rename(tmp_path / "copy" / "gallery.sqlite3")
    assert contents_at(tmp_path / "copy") == whole
    with closing(sqlite3.connect(tmp_path / "copy" / "gallery.sqlite3")) as copy:
        assert not copy.execute("SELECT name FROM sqlite_master WHERE name LIKE 'served%'").fetchall()


def test_two_cameras_never_give_one_name(served: str, state: Path) -> None:
    with Gallery.create(served, MODEL) as one, Gallery.open(served, write=True) as two:
        first, second = one.unknown_numbers(), two.unknown_numbers()
        numbers = [[next(some) for _ in range(1500)] for some in (first, second)]
        assert numbers[0][0] == 1
        assert len({*numbers[0], *numbers[1]}) == 3000


def test_a_log_of_an_older_format_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr("gallery_db.served.log.LOG_FORMAT", 1)
        with ServedHere(folder) as serving, Gallery.open(serving.url, write=True) as gallery:
            before = gallery._backend.link.info  # type: ignore[attr-defined]
            gallery.add(entries_named(3, "x"), unit_vectors(3, seed=1))
            whole = contents(gallery)
    with ServedHere(folder) as serving, Gallery.open(serving.url) as gallery:
        after = gallery._backend.link.info  # type: ignore[attr-defined]
        assert contents(gallery) == whole
    assert (before.format, after.format) == (1, 2)
    assert before.epoch != after.epoch
    assert contents_at(folder) == whole


def test_a_stranger_by_hand_has_a_number_that_no_camera_has_reserved(folder: Path) -> None:
    with Gallery.open(folder) as gallery:
        assert Curator(gallery).unknown_name() == "unknown-0001"
    with (
        ServedHere(folder) as serving,
        Gallery.open(serving.url) as camera,
        Gallery.open(serving.url, write=True) as gallery,
    ):
        assert next(camera.unknown_numbers()) == 1
        gallery.catch_up()
        assert Curator(gallery).reject(["e00000"], "who0000") == (1, "unknown-1001")
    with Gallery.open(folder) as gallery:
        assert Curator(gallery).unknown_name() == "unknown-1002"


# -- a served folder -----------------------------------------------------------------------------------------


def test_a_folder_is_served_and_keeps_all(folder: Path) -> None:
    with ServedHere(folder) as serving:
        with pytest.raises(GalleryLockedError, match=serving.url) as caught:
            Gallery.open(folder, write=True, lock_timeout=0.0)
        assert f"the address {serving.url}" in (caught.value.hint or "")
        with Gallery.open(serving.url, write=True) as gallery, Gallery.open(folder) as reader:
            assert contents(gallery) == contents(reader)
            gallery.add(entries_named(10, "x"), unit_vectors(10, seed=1))
            Curator(gallery).merge(["who0000"], "who0001")
            wait_for(lambda: len(reader) == 30 and reader.operations(1)[0].action == "merge")
            assert contents(gallery) == contents(reader)
            assert gallery.query(unit_vectors(1, seed=1), top_k=1, search="hnsw")[0][0].entry.id == "x00000"
            assert gallery.verify().ok
        with Gallery.open_or_create(serving.url, model_named("other.pt"), new_collection=True) as other:
            other.add(entries_named(3), unit_vectors(3))
            second = other.collection
            assert sorted(info.entries for info in other.collections()) == [3, 30]
    with Gallery.open(folder, write=True) as gallery:
        assert gallery.notices == []
        assert gallery.stats().index_current
        assert gallery.verify().ok
        assert len(gallery) == 30
        gallery.undo()  # of what a client did
        gallery.remove(["x00003"])
        whole = contents(gallery)
    with Gallery.open(folder, collection=second) as other:
        assert len(other) == 3
    with ServedHere(folder) as serving, Gallery.open(f"{serving.url}/person_embeddings") as gallery:
        assert contents(gallery) == whole, "a replica of before hears what was done in the folder meanwhile"
        assert [o.action for o in gallery.operations(2)] == ["remove", "undo"]


def test_a_threshold_goes_in_and_out_with_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def at(place: Path | str) -> float:
        with Gallery.open(place) as gallery:
            return match_threshold(gallery).value

    with Gallery.open(folder, write=True) as gallery:
        set_threshold(gallery, 0.1)
    with ServedHere(folder) as serving:
        assert at(serving.url) == 0.1
        with Gallery.open(serving.url, write=True) as gallery:
            set_threshold(gallery, 0.2)
            wait_for(lambda: at(folder) == 0.2)
            taken = take_snapshot(gallery, "then")
    with Gallery.open(folder, write=True) as gallery:
        set_threshold(gallery, 0.3)
    with ServedHere(folder) as serving:
        assert at(serving.url) == 0.3
        os.kill(serving.server_pid(), signal.SIGKILL)
        wait_for(lambda: any(line.startswith("served at") for line in serving.said))
        assert at(serving.url) == 0.3, "after a restart"
    monkeypatch.setattr("gallery_db.served.absorb._MOST_OLD", -100)
    with Gallery.open(folder, write=True) as gallery:
        gallery.remove(["e00000"])
    with ServedHere(folder) as serving:
        assert at(serving.url) == 0.3, "in a log made anew"
    with Gallery.open(folder, write=True) as gallery:
        reset_thresholds(gallery)
    with ServedHere(folder) as serving:
        assert at(serving.url) == 0.25
    (folder.parent / "copy").mkdir()
    taken.path.rename(folder.parent / "copy" / "gallery.sqlite3")
    assert at(folder.parent / "copy") == 0.2


def test_a_threshold_that_no_server_heard_of_waits(folder: Path) -> None:
    serving = Serving(folder)
    with Gallery.open(serving.url, write=True) as gallery:
        serving.kill()
        set_threshold(gallery, 0.2)
        assert match_threshold(gallery).value == 0.2
    assert "1 change could not be stored" in gallery.notices[-1]
    with ServedHere(folder, serving.port):
        assert [(one.delivered, one.left) for one in flush_journals()] == [(1, 0)]
    with Gallery.open(folder) as gallery:
        assert match_threshold(gallery).value == 0.2


def test_a_client_that_comes_later_knows_how_much_has_changed_since(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the log, made anew, does not hold those changes any more."""
    with Gallery.open(folder, write=True) as gallery:
        gallery.add(entries_named(30, "x"), unit_vectors(30, seed=3))
        store_calibrations(gallery, calibrate_gallery(gallery, far=0.2))
        gallery.replace(entries_named(20), unit_vectors(20, seed=9))
        old = describe_outdated(gallery, stored_thresholds(gallery)["person"])
        assert old is not None
    monkeypatch.setenv("GTRACK_STATE_DIR", str(folder.parent / "elsewhere"))
    with ServedHere(folder) as serving, Gallery.open(serving.url) as gallery:
        assert len(gallery.operations()) == 1
        words = describe_outdated(gallery, stored_thresholds(gallery)["person"])
        assert words == old.replace(str(folder), str(gallery.location))


EIGHT = """
import sys, time
from dataclasses import replace
from support.gallery import entries_named, model_named, unit_vectors
from gallery_db import Gallery, Curator
url, number = sys.argv[1], int(sys.argv[2])
with Gallery.open(url, write=True) as gallery:
    names = gallery.unknown_numbers()
    vectors = unit_vectors(40, seed=100 + number)  # none that the gallery holds: equals come in no promised order
    mine = [replace(e, identity=f"unknown-{next(names):04d}") for e in entries_named(40, f"c{number}-")]
    for start in range(0, 40, 5):
        gallery.add(mine[start : start + 5], vectors[start : start + 5])
        found = gallery.query(vectors[start : start + 2], top_k=1, search=("exact", "auto")[start % 2])
        assert found[0][0].entry.id == mine[start].id, found
        with gallery.transaction():  # one that all of them change
            entry = gallery.get("e00000")[0]
            gallery.update([replace(entry, extra={**entry.extra, f"c{number}": start})])
    gallery.remove([entry.id for entry in mine[::10]])
    Curator(gallery).move([mine[1].id], "everybody", new=True)
    assert not gallery._backend.link.waiting(), gallery.notices
    print("stored", len(mine) - 4, flush=True)
    sys.stdin.readline()
"""


def test_eight_processes_at_once_lose_nothing(folder: Path) -> None:
    with ServedHere(folder) as serving:
        processes = [python(EIGHT, serving.url, number, OMP_NUM_THREADS="1") for number in range(8)]
        assert sum(int(finished(process).split()[1]) for process in processes) == 8 * 36
        with Gallery.open(serving.url) as gallery:
            assert len(gallery) == 20 + 8 * 36
            whole = contents(gallery)
            names = [entry.identity for entry in gallery.entries() if entry.id.startswith("c")]
            assert len(set(names)) == len(names) - 7, "each stranger a name, but for the eight who are everybody"
            assert {f"c{number}" for number in range(8)} >= gallery.get("e00000")[0].extra.keys()
            assert gallery.verify().ok
    vectors = {
        f"c{number}-{row:05d}": v for number in range(8) for row, v in enumerate(unit_vectors(40, seed=100 + number))
    }
    assert all(whole[id_][1] == vectors[id_].tobytes() for id_ in whole if id_ in vectors)
    assert contents_at(folder) == whole
    with Gallery.open(folder, write=True) as gallery:
        assert gallery.verify().ok
    # All eight replicas, each brought up to date once more, hold the same.
    with ServedHere(folder) as serving:
        handles = [Gallery.open(serving.url) for _ in range(8)]
        assert len({handle.record.path for handle in handles}) == 8
        assert all(contents(handle) == whole for handle in handles)
        for handle in handles:
            handle.close()


# -- whoever dies --------------------------------------------------------------------------------------------


def test_a_server_that_dies_and_comes_back(folder: Path) -> None:
    serving = Serving(folder)
    gallery = Gallery.open(serving.url, write=True)
    view = gallery.view()
    serving.kill()
    gallery.add(entries_named(5, "x"), unit_vectors(5, seed=1))
    assert view.refresh()
    assert len(view) == len(gallery) == 25
    assert len(gallery.query(unit_vectors(1), top_k=25)[0]) == 25
    with pytest.raises(GalleryServerError):
        gallery.query(unit_vectors(1), search="hnsw")
    assert gallery._backend.link.waiting() == 5  # type: ignore[attr-defined]
    assert any("waits in a journal" in notice for notice in gallery.notices)
    again = ServedHere(folder, serving.port)
    wait_for(lambda: not gallery._backend.link.waiting())  # type: ignore[attr-defined]
    assert any("answers again" in notice for notice in gallery.notices)
    whole = contents(gallery)
    gallery.close()
    again.stop()
    assert contents_at(folder) == whole
    assert len(whole) == 25


def test_what_a_server_does_not_hear_waits_for_the_next_opening_or_a_flush(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Serving(folder) as serving:
        galleries = [Gallery.open(serving.url, write=True) for _ in range(2)]
        serving.kill()
    for number, gallery in enumerate(galleries):
        gallery.add(entries_named(5, f"x{number}"), unit_vectors(5, seed=number + 1))
        gallery.close()
        assert "5 changes could not be stored" in gallery.notices[-1]
    assert sum(journal.waiting for journal in journals()) == 10
    assert [(one.delivered, one.left) for one in flush_journals()] == [(0, 10)]
    with ServedHere(folder) as serving:  # at another port
        with pytest.raises(GalleryError, match="is no address of a served gallery"):
            flush_journals(str(folder))
        flushed = finished(python("from cli.main import main; main()", *_words("flush", "-g", serving.url, "--json")))
        assert json.loads(flushed) == {
            "server": serving.url,
            "collection": "person_embeddings",
            "delivered": 10,
            "left": 0,
            "problem": "",
        }
        assert flush_journals() == flush_journals(serving.url) == []
        assert len(contents_at(serving.url)) == 30
    assert len(contents_at(folder)) == 30


def _words(*words: str) -> tuple[str, ...]:
    return ("gallery", *words)


def test_a_journal_is_never_for_another_gallery(folder: Path, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "other", MODEL) as other:
        other.add(entries_named(3), unit_vectors(3))
    serving = Serving(folder)
    with Gallery.open(serving.url, write=True) as gallery:
        serving.kill()
        gallery.add(entries_named(5, "x"), unit_vectors(5, seed=1))
    with ServedHere(tmp_path / "other", serving.port) as serving:
        assert len(contents_at(serving.url)) == 3
        assert [(one.delivered, one.left) for one in flush_journals()] == [(0, 5)]
        assert flush_journals(serving.url) == []
    assert len(contents_at(tmp_path / "other")) == 3
    with ServedHere(folder) as serving:
        assert len(contents_at(serving.url)) == 25, "the next opening delivers"


KILLED = """
import os, signal, sys
from support.gallery import entries_named, unit_vectors
from gallery_db import Gallery
gallery = Gallery.open(sys.argv[1], write=True)
gallery._backend.link.holding += 1  # as if the network took its time
gallery.add(entries_named(7, "k"), unit_vectors(7, seed=4))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_client_that_is_killed_before_it_told_the_server(folder: Path) -> None:
    with ServedHere(folder) as serving:
        finished(python(KILLED, serving.url), code=-signal.SIGKILL)
        assert len(contents_at(folder)) == 20
        with Gallery.open(serving.url) as gallery:
            assert len(gallery) == 27
            wait_for(lambda: len(contents_at(folder)) == 27)


def test_a_killed_serve_loses_nothing_that_was_acknowledged(folder: Path) -> None:
    serving = Serving(folder)
    with Gallery.open(serving.url, write=True) as gallery:
        for number in range(10):
            gallery.add(entries_named(3, f"k{number}-"), unit_vectors(3, seed=number))
        assert not gallery._backend.link.waiting()  # type: ignore[attr-defined]
        child = serving.server_pid()
        serving.kill()
        wait_for(lambda: _is_gone(child))
        # Whoever opens the folder next takes in what stood in the log alone.
        with Gallery.open(folder, write=True) as embedded:
            assert len(embedded) == 50
            embedded.remove(["e00000"])
        with Gallery.open(folder, write=True) as embedded:
            assert embedded.verify().ok
        with ServedHere(folder, serving.port):
            gallery.catch_up()
            assert len(gallery) == 49
            whole = contents(gallery)
    assert contents_at(folder) == whole


def test_a_server_that_is_killed_is_started_again(folder: Path) -> None:
    with ServedHere(folder) as serving, Gallery.open(serving.url, write=True) as gallery:
        gallery.add(entries_named(30, "k"), unit_vectors(30, seed=1))
        os.kill(serving.server_pid(), signal.SIGKILL)
        gallery.add(entries_named(1, "late"), unit_vectors(1, seed=99))
        wait_for(lambda: not gallery._backend.link.waiting() and not gallery._backend.link.is_away)  # type: ignore[attr-defined]
        gallery.catch_up()
        whole = contents(gallery)
        assert len(whole) == 51
        assert gallery.verify().ok
    assert any("ended by itself with code -9" in line for line in serving.said)
    assert contents_at(folder) == whole
    with Gallery.open(folder, write=True) as embedded:
        assert embedded.verify().ok


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_an_index_that_is_made_anew_takes_no_log_with_it(folder: Path) -> None:
    serving = Serving(folder)
    with Gallery.open(serving.url, write=True) as gallery:
        gallery.add(entries_named(5, "x"), unit_vectors(5, seed=1))
        serving.kill()
        gallery.add(entries_named(5, "y"), unit_vectors(5, seed=2))
    with Gallery.open(folder) as reader:  # a handle for reading, which takes the lock for a moment
        reader.rebuild()
        assert len(reader) == 25
    with ServedHere(folder) as serving, Gallery.open(serving.url) as gallery:
        assert len(gallery) == 30
        assert gallery.verify().ok


def test_a_log_that_was_made_anew_is_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = ServedHere(folder)
    gallery = Gallery.open(serving.url, write=True)
    gallery.add(entries_named(5, "x"), unit_vectors(5, seed=1))
    serving.stop()
    gallery.add(entries_named(5, "y"), unit_vectors(5, seed=2))
    with Gallery.open(folder, write=True) as embedded:
        embedded.rebuild()
        embedded.remove(["x00000", "e00000"])
        prepare_logs(folder / "chroma", embedded.record)
    with ServedHere(folder, serving.port) as serving:
        wait_for(lambda: len(gallery) == 28 and not gallery._backend.link.waiting())  # type: ignore[attr-defined]
        whole = contents(gallery)
        assert contents_at(serving.url) == whole
        gallery.close()
    assert contents_at(folder) == whole


def test_a_restored_snapshot_is_what_clients_then_see(folder: Path) -> None:
    with Gallery.open(folder) as gallery:
        take_snapshot(gallery, "before")
    with ServedHere(folder) as serving, Gallery.open(serving.url, write=True) as gallery:
        gallery.add(entries_named(5, "x"), unit_vectors(5, seed=1))
    restore_snapshot(folder, "before")
    with ServedHere(folder) as serving:
        assert len(contents_at(serving.url)) == 20
    assert len(contents_at(folder)) == 20


# -- serving -------------------------------------------------------------------------------------------------


def test_a_port_in_use(folder: Path, plain_server: PlainServer) -> None:
    with pytest.raises(GalleryServerError, match=str(plain_server.port)) as caught:
        GalleryServer(folder, port=plain_server.port)
    assert "--port" in (caught.value.hint or "")
    with Gallery.open(folder, write=True, lock_timeout=0.0) as gallery:
        assert gallery.stats().index_current


def test_a_gallery_is_served_once(folder: Path) -> None:
    with ServedHere(folder) as serving, pytest.raises(GalleryLockedError, match=serving.url):
        GalleryServer(folder, port=0, lock_timeout=0.0)


def test_only_a_gallery_can_be_served(tmp_path: Path) -> None:
    with pytest.raises(GalleryNotFoundError):
        GalleryServer(tmp_path / "none", port=0)


def test_a_collection_that_is_named_like_a_log(tmp_path: Path, state: Path) -> None:
    Gallery.create(tmp_path / "g", MODEL, "people.log").close()
    with pytest.raises(GalleryError, match=r"people\.log"):
        GalleryServer(tmp_path / "g", port=0)
    Gallery.open(tmp_path / "g", write=True, lock_timeout=0.0).close()


# -- a run ---------------------------------------------------------------------------------------------------


def enrolled(place: Path | str) -> dict[str, tuple[str, bool]]:
    """What a run has stored, and whether its picture is there."""
    with Gallery.open(place) as gallery:
        return {
            entry.id: (entry.identity, (gallery.path / str(entry.extra["crop"])).is_file())
            for entry in gallery.entries()
        }


def test_a_run_outlives_its_server(scene: Scene, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(place: Path | str, at_frame: Callable[[int], None] = lambda frame: None) -> list[str]:
        said: list[str] = []
        options = RunOptions(gallery=place, embedder=EmbedderOptions("builtin"), enroll="unknown", grace_frames=2)
        run = TrackingRun(scene.detections, scene.video, options, notify=said.append)
        result = run.execute(progress=lambda done, total: at_frame(done))
        assert result.enrolment is not None
        assert result.enrolment.enrolled
        return said

    run(tmp_path / "embedded")
    expected = enrolled(tmp_path / "embedded")
    with Gallery.open(tmp_path / "embedded") as gallery:
        Gallery.create(tmp_path / "served", gallery.model).close()
    serving = Serving(tmp_path / "served")
    said = run(serving.url, lambda frame: serving.kill() if frame == 100 else None)
    assert any("waits in a journal" in line for line in said)
    assert any("gtrack gallery flush" in line for line in said)
    with ServedHere(tmp_path / "served", serving.port) as again:
        assert [one.left for one in flush_journals(again.url)] == [0]
        assert enrolled(again.url) == expected
        # On another machine, that is with nothing of this one's: pictures as well.
        monkeypatch.setenv("GTRACK_STATE_DIR", str(tmp_path / "elsewhere"))
        assert enrolled(again.url) == expected
    assert enrolled(tmp_path / "served") == expected
    assert all(picture for _, picture in expected.values())
