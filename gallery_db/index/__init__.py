"""The Chroma index, which is derived from the record: its client, its maintenance, the check of its files."""
