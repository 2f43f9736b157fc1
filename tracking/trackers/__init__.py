"""The trackers `gallery_hybrid` and `gallery_only`, and temporal association."""
