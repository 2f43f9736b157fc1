"""One word for one thing: the words that the glossary in CONTRIBUTING.md replaced do not come back."""

from __future__ import annotations

import re
from functools import lru_cache

import pytest
from support import ROOT

_REPLACED = {
    "anew": "again",
    "anybody": "any person, any identity",
    "appearances": "sightings",
    "artefacts?": "output",
    "doubts?": "issue",
    "everybody": "all people, all users",
    "gives way": "yields to, is replaced by",
    "hindsight": "backfill",
    "keepers?": "maintenance",
    "ledgers?": "change feed, outbox",
    "mend(?:s|ed|ing)?": "repair",
    "moments": "best crops, times",
    "presences?": "sighting",
    "settle[sd]?": "decide",
    "sights": "sightings, observations",
    "sketch(?:es)?": "similarity bounds",
    "somebody": "a person, a user, another person",
    "stretch(?:es|ed)?": "tracklet",
    "takes? back": "undo",
    "takes? (?:it|them) back": "undo",
    "taken back": "undone",
    "tells?": "name, show, say",
    "told": "reported",
    "verdicts?": "decision",
    "whoever": "the user or process that",
    "whom": "that, which person",
}
"""Each word (a regular expression) with the words to use. CHANGELOG.md and CONTRIBUTING.md may name the old ones."""

_ALLOWED = {
    ("appearances", "cli/evaluate/identity.py"): "a key of `--json`",
    ("appearances", "docs/explanation/evaluation.md"): "a key of `--json`",
    ("appearances", "tests/cli/test_evaluate.py"): "a key of `--json`",
    ("appearances", "tracking/synthetic/config.py"): "clothes and bodies of drawn people, not sightings",
    ("appearances", "tracking/synthetic/gallery_crops.py"): "clothes and bodies of drawn people, not sightings",
    ("appearances", "tracking/synthetic/motion.py"): "clothes and bodies of drawn people, not sightings",
    ("moments", "gallery_db/analysis/calibration_statistics.py"): "moments of a distribution",
    ("presences?", "tracking/enrolment/enroller.py"): "the frames in which an identity is in view",
    ("appearances", "tracking/synthetic/scene.py"): "clothes and bodies of drawn people, not sightings",
    ("doubts?", "docs/reference/tracks-formats.md"): "keys of the timeline JSON",
    ("doubts?", "tests/cli/test_export.py"): "keys of the timeline JSON",
    ("doubts?", "tests/tracking/results/test_export.py"): "keys of the timeline JSON",
    ("doubts?", "tests/tracking/results/test_timeline.py"): "keys of the timeline JSON",
    ("doubts?", "tracking/results/issues.py"): "keys of the timeline JSON",
    ("doubts?", "tracking/results/timeline.py"): "keys of the timeline JSON",
    ("presences?", "docs/reference/tracks-formats.md"): "a key of the timeline JSON",
    ("presences?", "tests/tracking/results/test_export.py"): "a key of the timeline JSON",
    ("presences?", "tracking/results/timeline.py"): "a key of the timeline JSON",
    ("somebody", "notebooks/review_and_correct.ipynb"): "the name that the example gives to an identity",
    ("somebody", "tests/cli/test_curate.py"): "the name of an identity",
    ("somebody", "tests/gallery_db/analysis/test_thresholds.py"): "the name of an identity",
    ("somebody", "tests/gallery_db/search/test_similarity_bounds.py"): "the name of an identity",
    ("stretch(?:es|ed)?", "docs/reference/sidecar.md"): "the resize mode `stretch`",
    ("stretch(?:es|ed)?", "docs/reference/tracks-formats.md"): "a key of the timeline JSON",
    ("stretch(?:es|ed)?", "notebooks/deepstream_gallery.ipynb"): "the resize mode `stretch`",
    ("stretch(?:es|ed)?", "tests/cli/test_export.py"): "a key of the timeline JSON",
    ("stretch(?:es|ed)?", "tests/tracking/deepstream/test_deepstream.py"): "the resize mode `stretch`",
    ("stretch(?:es|ed)?", "tests/tracking/reid/test_input_spec.py"): "the resize mode `stretch`",
    ("stretch(?:es|ed)?", "tests/tracking/results/test_timeline.py"): "a key of the timeline JSON",
    ("stretch(?:es|ed)?", "tracking/deepstream/nvinfer.py"): "the resize mode `stretch`",
    ("stretch(?:es|ed)?", "gallery_db/spaces/priors/catalogue.json"): "the resize mode `stretch`",
    ("stretch(?:es|ed)?", "tracking/reid/builtin.py"): "the resize mode `stretch`",
    ("stretch(?:es|ed)?", "tracking/reid/crop_batch.py"): "the resize mode `stretch`",
    ("stretch(?:es|ed)?", "tracking/reid/input_spec.py"): "the resize mode `stretch`",
    ("stretch(?:es|ed)?", "tracking/results/sightings.py"): "a key of the timeline JSON",
    ("verdicts?", "tracking/identification/explanation.py"): "a key of track-v1",
}
"""Word and file, with the reason why the word may stand there."""

_FOLDERS = ("cli", "docs", "gallery_db", "notebooks", "tests", "tracking")
_SUFFIXES = {".py", ".pyi", ".md", ".ipynb", ".j2", ".json"}
_LEFT_OUT = (
    "tests/test_language.py",
    "gallery_db/served/",  # has a wording of its own so far
    "tests/gallery_db/served/",
)
_MAX_LINE = 2000
"""Longer lines hold encoded pictures, not words."""


@lru_cache(maxsize=1)
def _uses() -> dict[str, dict[str, str]]:
    """Return, for each replaced word, the files that contain it, each with the first line that does."""
    pattern = re.compile("(?<![a-z])(?:" + "|".join(f"({word})" for word in _REPLACED) + ")(?![a-z])", re.IGNORECASE)
    words = tuple(_REPLACED)
    uses: dict[str, dict[str, str]] = {word: {} for word in words}
    paths = [ROOT / "README.md", *(path for folder in _FOLDERS for path in sorted((ROOT / folder).rglob("*.*")))]
    for path in paths:
        name = path.relative_to(ROOT).as_posix()
        if path.suffix not in _SUFFIXES or name.startswith(_LEFT_OUT):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            if len(line) <= _MAX_LINE:
                for match in pattern.finditer(line):
                    uses[words[(match.lastindex or 1) - 1]].setdefault(name, line.strip())
    return uses


@pytest.mark.parametrize("word", _REPLACED)
def test_replaced_words_do_not_come_back(word: str) -> None:
    found = {name: line for name, line in _uses()[word].items() if (word, name) not in _ALLOWED}
    assert found == {}, f"use instead: {_REPLACED[word]}"


def test_each_exception_is_needed() -> None:
    assert {(word, name) for word, name in _ALLOWED if name not in _uses()[word]} == set()
