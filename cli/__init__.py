"""The `gtrack` command; all work is done in `tracking` and `gallery_db`."""

# gtrack-reid: `gallery_db.distribution` knows the package by this line.
