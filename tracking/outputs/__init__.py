"""What a run writes: track-v1, annotated video and frames, explanations."""
