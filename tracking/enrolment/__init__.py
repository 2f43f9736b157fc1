"""From ended tracks to gallery entries."""
