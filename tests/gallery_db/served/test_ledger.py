"""The log of a served gallery and the records that follow it: whatever the interleaving, all end alike."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.gallery import DIMENSION, entries_named, model_named, unit_vectors

from gallery_db import Entry, GalleryFormatError, UndoError
from gallery_db.served.ledger import Ledger, setting_row
from gallery_db.served.rows import LogRow, OperationFacts, decode_row, encode_row, keep_pictures, pictures_of
from gallery_db.store.record import Record
from gallery_db.store.schema import RECORD_NAME
from gallery_db.store.thresholds import THRESHOLDS, for_others
from gallery_db.store.undo import redo_operations, undo_operations

MODEL = model_named()
OPERATION = OperationFacts("u", "add", "add some", "me@here", "2026-01-01T00:00:00+00:00")
State = dict[str, tuple[Entry, bytes]]


# -- rows ----------------------------------------------------------------------------------------------------

ROWS = {
    "add": LogRow(
        "r",
        "add",
        OPERATION,
        (
            Entry("a", "Zoë ✓", extra={"crop": "crops/a.jpg", "n": [1, 2.5]}),
            Entry("b", "bus", box=(1.0, 2.5, 3.0, 4.0)),
        ),
        vectors=unit_vectors(2),
        pictures={"crops/a.jpg": b"\xff\xd8\xffpicture"},
    ),
    "update": LogRow("r", "update", OPERATION, (Entry("a", "x" * 5000),)),
    "remove": LogRow("r", "remove", OPERATION, ids=("a", "ü")),
    "reserve": LogRow("r", "reserve", OPERATION, number=1000),
    "setting": LogRow("r", "setting", OPERATION, setting=("thresholds", '{"classes": {"Zoë": 1}}' + " " * 5000)),
}


@pytest.mark.parametrize("most", [None, 100, 4000])
@pytest.mark.parametrize("name", ROWS)
def test_rows_come_back_as_they_were(name: str, most: int | None) -> None:
    row = ROWS[name]
    metadata = encode_row(row, most=most)
    assert most is None or all(len(value) <= most for value in metadata.values())
    assert all(value.isascii() for value in metadata.values())
    back = decode_row("r", metadata, DIMENSION)
    assert replace(back, vectors=None) == replace(row, vectors=None)
    assert (back.vectors is None) == (row.vectors is None)
    if row.vectors is not None and back.vectors is not None:
        assert back.vectors.tobytes() == row.vectors.tobytes()


BAD: dict[str, Any] = {
    "nothing": None,
    "no JSON": {"c": "{"},
    "another action": {"c": '{"a":"drop","o":["u","a","w","m","t"]}'},
    "a setting of nothing": {"c": '{"a":"setting","o":["u","a","w","m","t"],"s":["thresholds"]}'},
    "no operation": {"c": '{"a":"remove","i":["a"]}'},
    "a vector too short": {**encode_row(ROWS["add"]), "v": "AAAA"},
    "no vectors": {"c": encode_row(ROWS["add"])["c"]},
    "not of unit length": encode_row(replace(ROWS["add"], vectors=2 * unit_vectors(2))),
    "an entry without fields": {"c": '{"a":"update","o":["u","a","w","m","t"],"e":[{"id":"a"}]}'},
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_row_is_told(name: str) -> None:
    with pytest.raises(GalleryFormatError, match="'r'"):
        decode_row("r", BAD[name], DIMENSION)


def test_pictures_stay_in_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    folder.mkdir()
    data = b"\xff\xd8\xffpicture"
    places = ["../out.jpg", str(tmp_path / "abs.jpg"), "gallery.jpg", "crops/a.txt", "crops/good.jpg"]
    entries = [Entry(str(number), "x", extra={"crop": place}) for number, place in enumerate(places)]
    keep_pictures(folder, LogRow("r", "add", OPERATION, tuple(entries), pictures=dict.fromkeys(places, data)))
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")] == ["g/crops/good.jpg"]
    assert pictures_of(folder, entries) == {"crops/good.jpg": data}


# -- following -----------------------------------------------------------------------------------------------


class Replica:
    """A record that follows a log which is a list; delivery is as unreliable as a network."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.record = Record.create(path / RECORD_NAME, "people", MODEL)
        self.row = self.record.collections()[0]
        self.ledger = Ledger(self.record, self.row, path, a_row=3)
        self.record.log.feed = self
        self.record.server.run("PRAGMA synchronous = OFF")  # thousands of transactions, and no power to fail

    def note(
        self, action: str, key: int, entries: Sequence[Entry], vectors: NDArray[np.float32] | None, operation: int
    ) -> None:
        self.ledger.note(action, key, entries, vectors, operation)

    def note_setting(self, collection: int, name: str, value: str) -> None:
        self.ledger.note_setting(collection, name, value)

    def committed(self) -> None:
        """Nothing is sent by itself."""

    def push(self, log: list[LogRow], most: int = 1000, *, heard: bool = True) -> None:
        rows = self.ledger.unsent(most)
        known = {row.id for row in log}
        # Through what a server would keep of them.
        log += [decode_row(row.id, encode_row(row), DIMENSION) for row in rows if row.id not in known]
        if heard:
            self.ledger.acknowledge(rows, unindexed=False)

    def pull(self, log: list[LogRow], epoch: str, most: int = 10**6) -> None:
        if self.ledger.state.epoch != epoch:
            self.ledger.adopt(epoch)
        start = self.ledger.state.position
        rows = log[start : start + most]
        self.ledger.apply(rows, [row.id for row in rows])
        if self.ledger.state.position == len(log):
            self.ledger.settle()

    def state(self) -> State:
        entries, vectors = self.record.entries.with_vectors(1, self.record.entries.ids(1), DIMENSION)
        return {entry.id: (entry, vector.tobytes()) for entry, vector in zip(entries, vectors, strict=True)}

    def threshold(self) -> float | None:
        return threshold_in(self.record.setting(1, THRESHOLDS))


def thresholds(value: float, **facts: Any) -> str:
    """As the record keeps them."""
    return json.dumps(
        {"version": 2, "classes": {"person": {"threshold": value, "generation": 1, "change": 0, **facts}}}
    )


def threshold_in(text: str | None) -> float | None:
    return float(json.loads(text)["classes"]["person"]["threshold"]) if text else None


def last_setting(log: Sequence[LogRow]) -> str | None:
    return next((row.setting[1] for row in reversed(log) if row.setting is not None), None)


def folded(log: Sequence[LogRow]) -> State:
    """What a log says, in as few words as it can be said."""
    state: State = {}
    for row in log:
        for id_ in row.ids:
            state.pop(id_, None)
        for number, entry in enumerate(row.entries):
            if row.action == "add":
                assert row.vectors is not None
                state[entry.id] = (entry, row.vectors[number].tobytes())
            elif entry.id in state:
                vector = state[entry.id][1] if row.vectors is None else row.vectors[number].tobytes()
                state[entry.id] = (entry, vector)
    return state


def act(replica: Replica, chance: random.Random) -> None:
    """Something that a user may do, on entries that others know as well."""
    record = replica.record
    vectors = unit_vectors(4, seed=chance.randrange(10**9))
    ids = [f"e{chance.randrange(12):05d}" for _ in range(chance.randint(1, 4))]
    ids = list(dict.fromkeys(ids))
    there = record.entries.by_ids(1, ids)
    new = [Entry(id_, f"who{chance.randrange(5)}", created_at="then") for id_ in ids if id_ not in there]
    old = [replace(entry, identity=f"who{chance.randrange(5)}") for entry in there.values()]
    match chance.randrange(7):
        case 6:
            record.put_setting(1, THRESHOLDS, thresholds(chance.randrange(100) / 100))
        case 0 | 1:
            record.entries.insert(1, new, vectors[: len(new)])
        case 2:
            record.entries.update(1, old)
        case 3:
            record.entries.replace(1, old, vectors[: len(old)])
        case 4:
            record.entries.delete(1, list(there))
        case _:
            # What came of others in between may make it impossible; then it is refused as a whole.
            with suppress(UndoError):
                chance.choice((undo_operations, redo_operations))(record, replica.row)


@pytest.mark.parametrize("seed", range(25))
def test_all_replicas_end_alike(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    replicas = [Replica(tmp_path / str(number)) for number in range(3)]
    log: list[LogRow] = []
    epoch = 0
    for _ in range(60):
        replica = chance.choice(replicas)
        match chance.randrange(8):
            case 0 | 1 | 2:
                act(replica, chance)
            case 3 | 4:
                replica.push(log, chance.randint(1, 3), heard=chance.random() < 0.7)
            case 5 | 6:
                replica.pull(log, str(epoch), chance.randint(1, 8))
            case _ if chance.random() < 0.25:
                # Whoever serves it makes the log anew, shorter: from what the old one said.
                setting = last_setting(log)
                log = [
                    LogRow(f"base{epoch}-{id_}", "add", OPERATION, (entry,), vectors=np.frombuffer(vector, "<f4")[None])
                    for id_, (entry, vector) in folded(log).items()
                ]
                if setting is not None:
                    log.append(setting_row(f"base{epoch}-set", THRESHOLDS, setting, "me@here", "then"))
                epoch += 1
    for replica in replicas:
        # What was sent to a log that is no more, and of which nobody heard, counts as made now.
        replica.pull(log, str(epoch))
        replica.push(log)
    for replica in replicas:
        replica.pull(log, str(epoch))
        assert replica.ledger.waiting() == 0
        assert replica.record.server.run("SELECT COUNT(*) FROM served_outbox") == [(0,)]
        assert replica.record.server.run("SELECT COUNT(*) FROM served_pending") == [(0,)]
        assert replica.state() == folded(log)
        assert replica.threshold() == threshold_in(last_setting(log))
        assert replica.record.check_integrity() == ()


def test_what_is_new_here_counts_as_newest_until_it_is_told(tmp_path: Path) -> None:
    here, there = Replica(tmp_path / "here"), Replica(tmp_path / "there")
    log: list[LogRow] = []
    entry = entries_named(1)[0]
    here.record.entries.insert(1, [entry], unit_vectors(1))
    here.push(log)
    there.pull(log, "0")
    here.pull(log, "0")
    there.record.entries.update(1, [replace(entry, identity="theirs")])
    there.record.entries.replace(1, [replace(entry, identity="theirs too")], unit_vectors(1, seed=5))
    here.record.entries.update(1, [replace(entry, identity="ours")])
    there.push(log)
    here.pull(log, "0")
    state = here.state()[entry.id]
    assert (state[0].identity, state[1]) == ("ours", unit_vectors(1, seed=5)[0].tobytes())
    here.push(log)
    there.pull(log, "0")
    assert there.state() == here.state() == folded(log)


def test_a_setting_that_is_new_here_counts_as_newest_until_it_is_told(tmp_path: Path) -> None:
    here, there = Replica(tmp_path / "here"), Replica(tmp_path / "there")
    log: list[LogRow] = []
    there.record.put_setting(1, THRESHOLDS, thresholds(0.2))
    here.record.put_setting(1, THRESHOLDS, thresholds(0.1))
    here.record.put_setting(1, THRESHOLDS, thresholds(0.3))
    assert here.ledger.waiting() == 2
    there.push(log)
    here.pull(log, "0")
    assert here.threshold() == 0.3
    here.push(log, 1)
    here.pull(log, "0")
    there.pull(log, "0")
    assert (here.threshold(), there.threshold()) == (0.3, 0.1), "one of two is told"
    here.push(log)
    there.pull(log, "0")
    here.pull(log, "0")
    assert here.threshold() == there.threshold() == 0.3
    assert here.record.log.operations(1, 5) == there.record.log.operations(1, 5) == [], (
        "nothing that an undo could take back"
    )


def test_a_setting_has_its_place_in_the_changes_of_each_record(tmp_path: Path) -> None:
    here, there = Replica(tmp_path / "here"), Replica(tmp_path / "there")
    log: list[LogRow] = []
    for _ in range(3):  # one that has seen more comings and goings
        there.record.entries.insert(1, entries_named(1, "gone"), unit_vectors(1))
        there.record.entries.delete(1, ["gone00000"])
    here.record.entries.insert(1, entries_named(4), unit_vectors(4))
    here.record.put_setting(1, THRESHOLDS, thresholds(0.2, change=here.record.log.last_change(1)))
    here.record.entries.delete(1, ["e00000"])
    here.push(log)
    there.pull(log, "0")

    def place(replica: Replica) -> tuple[list[tuple[str, str]], int]:
        known = json.loads(replica.record.setting(1, THRESHOLDS) or "")["classes"]["person"]
        since = replica.record.log.changes_after(1, known["change"], replica.record.log.last_change(1))
        return since, known.get("changed", 0)

    assert place(here) == place(there) == ([("remove", "e00000")], 0)
    # Of a log that is made anew nobody can read what came before; it says how much.
    told = for_others(here.record.setting(1, THRESHOLDS) or "", here.record, 1)
    anew = [setting_row("s", THRESHOLDS, told, "me@here", "then")]
    third = Replica(tmp_path / "third")
    third.pull(anew, "1")
    assert place(third) == ([], 1)


def test_a_log_made_anew_without_a_setting_takes_it_away(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "r")
    log: list[LogRow] = []
    replica.record.entries.insert(1, entries_named(2), unit_vectors(2))
    replica.record.put_setting(1, THRESHOLDS, thresholds(0.2))
    replica.push(log)
    replica.pull(log, "0")
    replica.pull([row for row in log if row.setting is None], "1")
    assert replica.threshold() is None
    assert len(replica.state()) == 2


@pytest.mark.parametrize("text", ["nonsense", '{"version": 99, "classes": {"person": {}}}', '{"version": 2}', "[]"])
def test_a_setting_that_cannot_be_read_travels_as_it_is(tmp_path: Path, text: str) -> None:
    here, there = Replica(tmp_path / "here"), Replica(tmp_path / "there")
    log: list[LogRow] = []
    here.record.put_setting(1, THRESHOLDS, text)
    here.push(log)
    log.append(LogRow("x", "setting", OPERATION, setting=("of a newer gtrack", "1")))
    there.pull(log, "0")
    assert there.record.setting(1, THRESHOLDS) == text
    assert for_others(text, there.record, 1) == text


def test_what_is_read_twice_changes_nothing_and_is_no_change(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "r")
    log: list[LogRow] = []
    replica.record.entries.insert(1, entries_named(5), unit_vectors(5))
    replica.push(log, heard=False)
    replica.push(log)
    assert len(log) == 2, "three and two entries a row, and none of them twice"
    generation, changes = replica.record.generation(1), replica.record.log.last_change(1)
    replica.pull(log, "0")
    assert (replica.record.generation(1), replica.record.log.last_change(1)) == (generation, changes)


def test_the_operations_of_others_are_theirs(tmp_path: Path) -> None:
    here, there = Replica(tmp_path / "here"), Replica(tmp_path / "there")
    log: list[LogRow] = []
    with here.record.operation("enrol", "enrol tracks of door.mp4"):
        here.record.entries.insert(1, entries_named(4), unit_vectors(4))
        here.record.entries.insert(1, entries_named(4, "x"), unit_vectors(4))
    here.push(log)
    there.pull(log, "0", 1)
    there.pull(log, "0")
    ours, theirs = here.record.log.operations(1, 5), there.record.log.operations(1, 5)
    assert [(o.words, o.who, o.at, o.entries) for o in theirs] == [(o.words, o.who, o.at, o.entries) for o in ours]
    assert len(theirs) == 1
    assert [change.who for change in there.record.log.changes(1, 1)] == [ours[0].who]


def test_reserved_numbers_are_nobody_elses(tmp_path: Path) -> None:
    here, there = Replica(tmp_path / "here"), Replica(tmp_path / "there")
    log = [
        LogRow("base", "base", OPERATION, number=7),
        LogRow("one", "reserve", OPERATION, number=100),
        LogRow("add", "add", OPERATION, (Entry("a", "unknown-0300"),), vectors=unit_vectors(1)),
        LogRow("two", "reserve", OPERATION, number=100),
    ]
    here.pull(log, "0")
    there.pull(log, "0", 2)
    assert there.ledger.block("two") is None
    there.pull(log, "0")
    for replica in (here, there):
        assert (replica.ledger.block("one"), replica.ledger.block("two")) == (8, 301)


def test_a_row_that_cannot_be_read_is_left_out_by_all(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "r")
    good = LogRow("good", "add", OPERATION, (Entry("a", "x"),), vectors=unit_vectors(1))
    replica.ledger.adopt("0")
    replica.ledger.apply([None, good], ["bad", "good"])
    assert list(replica.state()) == ["a"]
    assert replica.ledger.state.position == 2
