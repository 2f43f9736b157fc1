"""A small, fixed portion of the fuzzers: no traceback, no hang, no memory, and an error names its place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fuzz import documents, galleries, models
from fuzz.watch import Target, examine

TARGETS = (*documents.TARGETS, *models.TARGETS, *galleries.TARGETS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_changed_input_is_read_or_refused(target: Target, tmp_path: Path) -> None:
    @settings(
        max_examples=target.portion,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def one(case: Any) -> None:
        folder = tmp_path / "case"
        folder.mkdir()
        try:
            finding = examine(target, case, folder)
        finally:
            shutil.rmtree(folder)
        assert finding is None, finding

    one()
