"""What is derived from the record: the Chroma collection, its maintenance, and the check of its files."""
