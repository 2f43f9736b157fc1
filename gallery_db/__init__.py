"""A persistent gallery of ReID embeddings.

A `Gallery` is a folder: a SQLite record that is the authority, and a Chroma index derived from it. Trackers
ask a `GalleryView` of it, in memory; people ask `Gallery.query`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gallery_db.calibration import (
        Calibration,
        Curve,
        OperatingPoint,
        Rate,
        calibrate_gallery,
        calibrate_view,
    )
    from gallery_db.calibration_plot import plot_calibrations
    from gallery_db.contact_sheet import ContactRow, write_contact_sheet, write_entry_sheet
    from gallery_db.entry import Box, Entry, Match, utc_now
    from gallery_db.errors import (
        EmbeddingError,
        EntryExistsError,
        EntryNotFoundError,
        GalleryError,
        GalleryFormatError,
        GalleryIndexError,
        GalleryLockedError,
        GalleryNotFoundError,
        GalleryReadOnlyError,
        GalleryServerError,
        GtrackError,
        IdentityExistsError,
        IdentityNotFoundError,
        ImageError,
        ModelMismatchError,
        SnapshotError,
        UndoError,
    )
    from gallery_db.exchange import (
        ExportReport,
        ImportReport,
        ParquetHeader,
        export_parquet,
        import_parquet,
        read_parquet_header,
    )
    from gallery_db.files import atomic_path
    from gallery_db.gallery import (
        DEFAULT_COLLECTION,
        CollectionInfo,
        Gallery,
        GalleryStats,
        IdentitySummary,
        Search,
        is_gallery,
    )
    from gallery_db.image_folders import FoldersReport, export_folders
    from gallery_db.images import IMAGE_SUFFIXES, read_image, read_image_bytes
    from gallery_db.index_keeper import VerifyReport
    from gallery_db.ingest import IngestReport, ingest_folder
    from gallery_db.model import Embedder, EmbeddingModel
    from gallery_db.people import People, checked_name, parse_age
    from gallery_db.record import Change, Operation
    from gallery_db.reembed import ReembedReport, reembed_gallery
    from gallery_db.rejections import Rejections, rejected_names, told_apart
    from gallery_db.served.flush import Flushed, flush_journals
    from gallery_db.served.serve import GalleryServer
    from gallery_db.snapshots import Restored, Snapshot, list_snapshots, restore_snapshot, take_snapshot
    from gallery_db.suspects import (
        AlikeIdentities,
        MisplacedEntry,
        MixedIdentity,
        NearDuplicate,
        Suspects,
        find_suspects,
    )
    from gallery_db.thresholds import (
        DEFAULT_THRESHOLD,
        MatchThreshold,
        StoredThreshold,
        match_threshold,
        outgrown,
        reset_thresholds,
        set_threshold,
        store_calibrations,
        stored_thresholds,
    )
    from gallery_db.view import GalleryView, ViewChange

__all__ = [
    "DEFAULT_COLLECTION",
    "DEFAULT_THRESHOLD",
    "IMAGE_SUFFIXES",
    "AlikeIdentities",
    "Box",
    "Calibration",
    "Change",
    "CollectionInfo",
    "ContactRow",
    "Curve",
    "Embedder",
    "EmbeddingError",
    "EmbeddingModel",
    "Entry",
    "EntryExistsError",
    "EntryNotFoundError",
    "ExportReport",
    "Flushed",
    "FoldersReport",
    "Gallery",
    "GalleryError",
    "GalleryFormatError",
    "GalleryIndexError",
    "GalleryLockedError",
    "GalleryNotFoundError",
    "GalleryReadOnlyError",
    "GalleryServer",
    "GalleryServerError",
    "GalleryStats",
    "GalleryView",
    "GtrackError",
    "IdentityExistsError",
    "IdentityNotFoundError",
    "IdentitySummary",
    "ImageError",
    "ImportReport",
    "IngestReport",
    "Match",
    "MatchThreshold",
    "MisplacedEntry",
    "MixedIdentity",
    "ModelMismatchError",
    "NearDuplicate",
    "OperatingPoint",
    "Operation",
    "ParquetHeader",
    "People",
    "Rate",
    "ReembedReport",
    "Rejections",
    "Restored",
    "Search",
    "Snapshot",
    "SnapshotError",
    "StoredThreshold",
    "Suspects",
    "UndoError",
    "VerifyReport",
    "ViewChange",
    "atomic_path",
    "calibrate_gallery",
    "calibrate_view",
    "checked_name",
    "export_folders",
    "export_parquet",
    "find_suspects",
    "flush_journals",
    "import_parquet",
    "ingest_folder",
    "is_gallery",
    "list_snapshots",
    "match_threshold",
    "outgrown",
    "parse_age",
    "plot_calibrations",
    "read_image",
    "read_image_bytes",
    "read_parquet_header",
    "reembed_gallery",
    "rejected_names",
    "reset_thresholds",
    "restore_snapshot",
    "set_threshold",
    "store_calibrations",
    "stored_thresholds",
    "take_snapshot",
    "told_apart",
    "utc_now",
    "write_contact_sheet",
    "write_entry_sheet",
]

# Imported when they are first asked for, so that `import gallery_db` costs nothing to speak of.
_MODULES = {
    "calibration": ("Calibration", "Curve", "OperatingPoint", "Rate", "calibrate_gallery", "calibrate_view"),
    "calibration_plot": ("plot_calibrations",),
    "contact_sheet": ("ContactRow", "write_contact_sheet", "write_entry_sheet"),
    "entry": ("Box", "Entry", "Match", "utc_now"),
    "errors": (
        "EmbeddingError",
        "EntryExistsError",
        "EntryNotFoundError",
        "GalleryError",
        "GalleryFormatError",
        "GalleryIndexError",
        "GalleryLockedError",
        "GalleryNotFoundError",
        "GalleryReadOnlyError",
        "GalleryServerError",
        "GtrackError",
        "IdentityExistsError",
        "IdentityNotFoundError",
        "ImageError",
        "ModelMismatchError",
        "SnapshotError",
        "UndoError",
    ),
    "exchange": (
        "ExportReport",
        "ImportReport",
        "ParquetHeader",
        "export_parquet",
        "import_parquet",
        "read_parquet_header",
    ),
    "files": ("atomic_path",),
    "gallery": (
        "DEFAULT_COLLECTION",
        "CollectionInfo",
        "Gallery",
        "GalleryStats",
        "IdentitySummary",
        "Search",
        "is_gallery",
    ),
    "image_folders": ("FoldersReport", "export_folders"),
    "images": ("IMAGE_SUFFIXES", "read_image", "read_image_bytes"),
    "index_keeper": ("VerifyReport",),
    "ingest": ("IngestReport", "ingest_folder"),
    "model": ("Embedder", "EmbeddingModel"),
    "reembed": ("ReembedReport", "reembed_gallery"),
    "people": ("People", "checked_name", "parse_age"),
    "served.flush": ("Flushed", "flush_journals"),
    "served.serve": ("GalleryServer",),
    "rejections": ("Rejections", "rejected_names", "told_apart"),
    "record": ("Change", "Operation"),
    "snapshots": ("Restored", "Snapshot", "list_snapshots", "restore_snapshot", "take_snapshot"),
    "suspects": ("AlikeIdentities", "MisplacedEntry", "MixedIdentity", "NearDuplicate", "Suspects", "find_suspects"),
    "thresholds": (
        "DEFAULT_THRESHOLD",
        "MatchThreshold",
        "StoredThreshold",
        "match_threshold",
        "outgrown",
        "reset_thresholds",
        "set_threshold",
        "store_calibrations",
        "stored_thresholds",
    ),
    "view": ("GalleryView", "ViewChange"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"gallery_db.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
