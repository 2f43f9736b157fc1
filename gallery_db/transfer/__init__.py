"""Moving entries in and out of a gallery: image folders, Parquet files, another embedding model."""
