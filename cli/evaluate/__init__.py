"""The commands of `gtrack eval`."""
