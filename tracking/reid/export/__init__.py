"""Export of ReID models to other runtimes."""
