"""What can be learned from the entries of a gallery: calibration, match thresholds, anomalies."""
