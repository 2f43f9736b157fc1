"""One gallery for many processes: a log of changes on a Chroma server, and a replica at each client.

Package-internal: users give an address to `gallery_db.Gallery.open`, or run `gallery_db.GalleryServer`.
docs/explanation/serving.md tells how it works and what it promises.
"""
