"""The demonstration of ``gtrack demo``."""
