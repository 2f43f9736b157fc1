"""Which image files outside of a gallery's folder may be shown as the pictures of its entries.

An entry names the file that it was made from. Entries also come from strangers: with an imported file, from other
clients of a served gallery, with a whole folder. Such an entry could name any file of this machine, which an export
or a contact sheet would then pass on. So a source is read in two cases only:

- It was ingested: the record knows path and hash of the file, and the reader checks that it still has that hash.
- The gallery was made on this machine, was never served, and the entry was not imported: then programs of this user,
  and nobody else, named the source.
"""

from __future__ import annotations

import uuid

from gallery_db.entry import Entry
from gallery_db.machine_key import is_sealed_here, seal
from gallery_db.store.record import Record

__all__ = ["IMPORT", "is_own_source", "mark_made_here"]

IMPORT = "import"
"""Action of the operations that import entries."""

_MADE_HERE = "made_here"
_PURPOSE = "gallery"


def mark_made_here(record: Record) -> None:
    """Note in a new record that this machine makes it."""
    number = uuid.uuid4().hex
    found = seal(_PURPOSE, number)
    if found is not None:
        record.set_meta(_MADE_HERE, f"{number} {found}")


def is_own_source(record: Record, entry: Entry) -> bool:
    """Return whether the source of an image's entry may be read."""
    collections = [row.id for row in record.collections()]  # reembedded entries are in another one than their files
    if entry.content_hash is not None:
        for collection in collections:
            known = record.files.at(collection, [entry.source]).get(entry.source)
            if known is not None and known.content_hash == entry.content_hash:
                return True
    if record.meta("gallery_id") is not None:  # it is, or was, served
        return False
    number, _, found = (record.meta(_MADE_HERE) or "").partition(" ")
    if not is_sealed_here(_PURPOSE, number, found):
        return False
    return not any(record.log.was_changed_by(IMPORT, collection, entry.id) for collection in collections)
