"""`gtrack eval reid`: rank-k, mAP and mINP of an embedder or a gallery."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.downloads import offer_downloads
from cli.options import (
    AsJson,
    Collection,
    Device,
    Download,
    Half,
    ModelsDir,
    NoProgress,
    ReidWeights,
    Runtime,
    Threads,
    TrustWeights,
)
from cli.output import print_json_lines, print_line, print_table, print_text, progress_bar, say

if TYPE_CHECKING:
    from tracking.evaluation import ReidReport

__all__ = ["reid"]


def reid(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="GALLERY|FOLDER",
            help="A gallery; or a folder of images with Market-1501's names (also in query/ and bounding_box_test/), "
            "or with one sub-folder an identity.",
        ),
    ],
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            help="A folder of query images. Default: query/, else the first image of each identity and camera.",
        ),
    ] = None,
    rerank: Annotated[
        bool,
        typer.Option("--rerank", help="Also measure exact search with k-reciprocal re-ranking of the nearest entries."),
    ] = False,
    collection: Collection = None,
    reid_weights: ReidWeights = None,
    models_dir: ModelsDir = Path("models"),
    device: Device = "auto",
    half: Half = False,
    runtime: Runtime = "auto",
    threads: Threads = None,
    download: Download = False,
    trust_weights: TrustWeights = False,
    as_json: AsJson = False,
    no_progress: NoProgress = False,
) -> None:
    """Compute rank-k, mAP and mINP by Market-1501's protocol, with the gallery's index (HNSW) and with exact search.

    Example: gtrack eval reid Market-1501-v15.09.15 --reid-weights osnet_x0_25_msmt17.onnx

    Images with the person and the camera of the query are ignored, and so are junk images (-1); distractors (0000)
    are never right. A gallery without --queries needs no model: its own entries are the queries. The index is asked
    for as many entries as rank-k needs; mAP and mINP continue in exact order. The row "adapted" compares the images of
    a folder in the space with which a gallery of the model begins.
    """
    from tracking.evaluation import evaluate_reid
    from tracking.identification.gallery_source import EmbedderOptions

    options = EmbedderOptions(reid_weights, models_dir, device, half, runtime, threads, download, trust_weights)
    offer_downloads(models_dir, download, reid=reid_weights)
    with (
        progress_bar("embedding", "images", no_progress) as progress,
        progress_bar("searching", "queries", no_progress) as search_progress,
    ):
        report = evaluate_reid(
            target,
            options,
            queries=queries,
            collection=collection,
            searches=("hnsw", "exact", "adapted", *(("reranked", "adapted-reranked") if rerank else ())),
            notify=say,
            progress=progress,
            search_progress=search_progress,
        )
    for path, reason in report.skipped:
        say(f"skipped: {path} ({reason})")
    if as_json:
        print_json_lines(_reid_json(report, target))
    else:
        _print_reid(report, target)


def _reid_json(report: ReidReport, target: Path) -> list[dict[str, Any]]:
    return [
        {
            "target": str(target),
            "model": report.model,
            "search": search,
            **({"recall": report.index_recall} if search == "hnsw" else {}),
            **{f"rank-{k}": value for k, value in scores.ranks.items()},
            "mAP": scores.mean_ap,
            "mINP": scores.mean_inp,
            "queries": scores.queries,
            "unanswerable": report.unanswerable,
            "entries": report.entries,
            "identities": report.identities,
            "cameras": report.cameras,
            "distractors": report.distractors,
            "ignored": report.ignored,
            "skipped": len(report.skipped),
        }
        for search, scores in report.scores.items()
    ]


def _print_reid(report: ReidReport, target: Path) -> None:
    from tracking.evaluation.reid_scores import RANKS

    exact = report.scores["exact"]
    print_text(
        f"For {exact.ranks[1]:.1%} of {report.queries - report.unanswerable} queries the nearest entry shows the right "
        f"identity (rank-1); mAP is {exact.mean_ap:.1%}. "
        f"The index (HNSW) finds {report.index_recall:.1%} of the nearest {RANKS[-1]} entries."
    )
    print_line()
    ranks = list(next(iter(report.scores.values())).ranks)
    print_table(
        f"Search in {target} with model {report.model} (percent)",
        ["search", *(f"rank-{k}" for k in ranks), "mAP", "mINP"],
        [
            (search, *(f"{100 * value:.1f}" for value in (*scores.ranks.values(), scores.mean_ap, scores.mean_inp)))
            for search, scores in report.scores.items()
        ],
    )
    print_text(
        f"{report.queries - report.unanswerable} queries ({report.unanswerable} more have no right entry), "
        f"{report.entries} entries of {report.identities} identities in {report.cameras} cameras, "
        f"{report.distractors} distractors, {report.ignored} junk images ignored, {len(report.skipped)} images skipped"
    )
