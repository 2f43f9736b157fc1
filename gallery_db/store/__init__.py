"""The record of a gallery, which is the authority: SQLite tables, change log, undo, writer lock, snapshots."""
