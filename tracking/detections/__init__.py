"""Detections of a video: det-v1 read and written, MOTChallenge text, detections frame by frame."""
