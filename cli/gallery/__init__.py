"""The commands of `gtrack gallery`."""
