"""Video input and output: files, cameras, streams, single frames, and crops of them."""
