"""Which operations of a collection are done and which are undone, as an editor keeps it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gallery_db.store.changes import REDO, REPLACED, UNDO

__all__ = ["History", "Step"]


class Step(NamedTuple):
    """An operation that can be undone or done again.

    Attributes:
        operation: Its number.
        last: Number of the operation whose changes were the last to do or to undo it: its own number, or that of an
            undo or a redo of it.
    """

    operation: int
    last: int


class History:
    """The operations of a collection as two stacks.

    The log only grows: an undo and a redo are operations as well, each with the operation that it is about. A new
    operation ends the redo of what was undone before it.

    Args:
        operations: (number, action, target) of all operations, the oldest first.

    Attributes:
        done: What can be undone, the next last.
        undone: What can be done again, the next last.
        reversed: Numbers of all operations that are undone now.
        wall: Number of the last operation that replaced the whole record, which ends every undo; None if none did.
        dropped: Number of the operation that last ended a redo; None if none did, or if something was undone since.
    """

    def __init__(self, operations: Iterable[tuple[int, str, int | None]]) -> None:
        self.done: list[Step] = []
        self.undone: list[Step] = []
        self.reversed: set[int] = set()
        self.wall: int | None = None
        self.dropped: int | None = None
        for number, action, target in operations:
            if action == UNDO and self.done and self.done[-1].operation == target:
                self.undone.append(Step(self.done.pop().operation, number))
                self.reversed.add(self.undone[-1].operation)
                self.dropped = None
            elif action == REDO and self.undone and self.undone[-1].operation == target:
                self.done.append(Step(self.undone.pop().operation, number))
                self.reversed.discard(self.done[-1].operation)
            else:
                if self.undone:
                    self.dropped = number
                self.undone.clear()
                if action == REPLACED:
                    self.done.clear()
                    self.wall = number
                else:
                    self.done.append(Step(number, number))
