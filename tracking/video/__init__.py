"""Video in and out: files, cameras, streams, single frames."""
