"""What becomes of a run's tracks: read back as a stream, told as a timeline, written in other tools' formats.

Importing this package loads nothing; pyarrow, Matplotlib, Jinja, OpenCV and supervision are imported where used.
"""

from __future__ import annotations
