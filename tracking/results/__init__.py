"""Work with the tracks of a finished run: reading, timelines, and export to other formats.

Importing this package loads nothing; pyarrow, Matplotlib, Jinja, OpenCV and supervision are imported where used.
"""

from __future__ import annotations
