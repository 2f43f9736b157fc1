"""Sources of detections: det-v1 files and documents, detectors, Python, and MOTChallenge text."""
