"""Images in and out: image files, the pictures of entries, contact sheets."""
