"""Images in and out: reading, the pictures of entries, contact sheets."""
