"""What the entries of a gallery say about it: calibration, thresholds, anomalies."""
