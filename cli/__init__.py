"""The `gtrack` command; all work is done in `tracking` and `gallery_db`."""
