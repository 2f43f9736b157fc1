"""Trackers that know who is on the video."""
