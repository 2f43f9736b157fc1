"""Measure `TrackEnroller` behind a separate pipeline, on PETS09-S2L1 and Market-1501, with OSNet x0.25.

``python tests/benchmarks/bench_own_pipeline.py --data ../shared/data``

The pipeline is gtrack's default tracker over the detections, and an embedding of each box, in every frame or every few
frames.

1. The gallery holds eight people from the video's first half; names of the second half, as in bench_names.py.
2. Both halves as two cameras at once, nobody known beforehand: the people that each identity shows in the end.
3. Embeddings in the arithmetic of DeepStream's nvinfer, as probes into a gallery that gtrack filled.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_enrolment import HALF, count_people
from numpy.typing import NDArray

from gallery_db import Gallery, ingest_folder, read_image
from tracking import TrackEnroller, TrackObservation, load_embedder, open_detections, track_video
from tracking.detections.score_level import score_level
from tracking.evaluation import evaluate_identity, read_track_table, read_truth
from tracking.reid.crop_batch import CropBatch
from tracking.reid.input_spec import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from tracking.reid.onnx_session import open_session
from tracking.trackers.temporal import TemporalOptions, TemporalTracker
from tracking.video.crops import crop
from tracking.video.reader import VideoReader


@dataclass
class ObservedFrame:
    """A frame of the pipeline, with its observations."""

    frame: int
    size: tuple[int, int]
    observations: list[TrackObservation]


def run_pipeline(data: Path, embedder: Any, first: int, last: int) -> Iterator[ObservedFrame]:
    """Track and embed all boxes of the frames from `first` to before `last`."""
    detections = open_detections(data / "video" / "pets09-s2l1.detections.json")
    tracker = TemporalTracker(TemporalOptions(), have_embeddings=True, level=score_level(detections.scores()))
    with VideoReader(data / "video" / "pets09-s2l1.avi") as reader:
        while reader.frame + 1 < last and reader.advance():
            if reader.frame < first:
                continue
            found = detections.at(reader.frame)
            ids, taken, _ = tracker.update(found.boxes, found.scores, found.class_ids)
            parts, kept = crop(reader.image(), found.boxes)
            vectors = dict(zip(kept.tolist(), embedder.embed(parts), strict=True))
            crops = {row: part.copy() for row, part in zip(kept.tolist(), parts, strict=True)}
            tracks = dict(zip(taken.tolist(), ids.tolist(), strict=True))
            rows = [*tracks, *(row for row in range(len(found)) if row not in tracks)]
            yield ObservedFrame(
                reader.frame,
                (reader.width, reader.height),
                [
                    TrackObservation(
                        tracks.get(row),
                        vectors.get(row),
                        found.boxes[row],
                        float(found.scores[row]),
                        "person",
                        crops.get(row),
                    )
                    for row in rows
                ],
            )


def thin_embeddings(observed: ObservedFrame, step: int) -> list[TrackObservation]:
    """Return the observations of a frame, with embeddings only in every `step`-th frame."""
    if observed.frame % step == 0:
        return observed.observations
    return [TrackObservation(s.track_id, None, s.box, s.score, s.class_name) for s in observed.observations]


def add_names(
    payload: Mapping[str, Any], gallery: Path, frames: list[ObservedFrame], every: int, step: int
) -> dict[str, Any]:
    """Return a run's result with the names that the enroller gives."""
    result = copy.deepcopy(dict(payload))
    documents = {document["frame"]: document for document in result["frames"]}
    with TrackEnroller(gallery, enroll="off", every=every) as enroller:
        for observed in frames:
            answers = enroller.observe(
                "pets", observed.frame, thin_embeddings(observed, step), frame_size=observed.size
            )
            by_track = {str(answer.track_id): answer for answer in answers if answer is not None}
            for detection in documents[observed.frame]["detections"]:
                if "track_id" in detection:
                    detection.pop("gallery_id", None)
                    answer = by_track[detection["track_id"]]
                    if answer.identity is not None and answer.distance is not None:
                        detection["gallery_id"] = answer.identity
                        detection["gallery_distance"] = round(answer.distance, 6)
    return result


def measure_names(data: Path, embedder: Any, weights: str, halves: list[list[ObservedFrame]], folder: Path) -> None:
    """Print the shares of right, wrong and missing names in the second half."""
    pets = data / "mot" / "PETS09-S2L1"
    truth = read_truth(pets, pets / "people.csv")
    images = data / "galleries" / "pets09-first-half"
    people = {path.name for path in images.iterdir()}
    with Gallery.open_or_create(folder / "known", embedder.model) as gallery:
        ingest_folder(gallery, images, embedder)
    run = track_video(
        dets_json=data / "video" / "pets09-s2l1.detections.json",
        video=data / "video" / "pets09-s2l1.avi",
        gallery=folder / "known",
        reid_weights=weights,
        frame_range=(HALF, None),
        no_progress=True,
    ).payload

    def shares(payload: Mapping[str, Any]) -> str:
        report = evaluate_identity(read_track_table(payload), truth, people, frame_range=(HALF, None))
        frames = sum(p.frames for p in report.known)
        return " ".join(
            f"{sum(getattr(p, name) for p in report.known) / frames:.3f}" for name in ("right", "wrong", "unnamed")
        )

    print(f"gtrack run: {shares(run)}")
    for step in (1, 5, 10, 30):
        cells = {every: add_names(run, folder / "known", halves[1], every, step) for every in (10, 1)}
        same = step == 1 and cells[10]["frames"] == run["frames"]
        row = ", ".join(f"every={every} {shares(payload)}" for every, payload in cells.items())
        print(f"an embedding every {step} frames: {row}{', the first equal to the run, box by box' if same else ''}")


def measure_two_cameras(data: Path, embedder: Any, halves: list[list[ObservedFrame]], folder: Path) -> None:
    """Print the people that each identity shows after both halves ran as two cameras."""
    pets = data / "mot" / "PETS09-S2L1"
    truth = read_truth(pets, pets / "people.csv")
    frames, seconds = 0, 0.0
    with TrackEnroller(folder / "new", model=embedder.model) as enroller:
        for number in range(max(map(len, halves))):
            for source, half in zip("AB", halves, strict=True):
                if number < len(half):
                    began = time.process_time()
                    enroller.observe(
                        source, half[number].frame, half[number].observations, frame_size=half[number].size
                    )
                    seconds += time.process_time() - began
                    frames += 1
    print(f"\nboth halves at once: {enroller.counts}, {1000 * seconds / frames:.2f} CPU ms a frame")
    for identity, entries in sorted(count_people(folder / "new", truth).items()):
        print(f"  {identity}: {', '.join(f'{person} x {count}' for person, count in entries.most_common())}")


def measure_nvinfer_arithmetic(data: Path, weights: str) -> None:
    """Print how close embeddings in the arithmetic of nvinfer are to gtrack's own."""
    files = sorted((data / "reid" / "market1501-test-subset").rglob("*.jpg"))
    images = [read_image(path) for path in files]
    session = open_session(Path(weights), 1)

    def embed(preprocessing: Preprocessing) -> NDArray[np.float32]:
        batch, rows = CropBatch(preprocessing, 8), []
        for start in range(0, len(images), 8):
            fed = {session.get_inputs()[0].name: batch.fill(images[start : start + 8])}
            rows.append(session.run(None, fed)[0])
        vectors = np.concatenate(rows)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    people = np.array([path.name[:4] for path in files])
    cameras = np.array([path.name[5:7] for path in files])
    first: dict[tuple[str, str], int] = {}
    for row, key in enumerate(zip(people.tolist(), cameras.tolist(), strict=True)):
        first.setdefault(key, row)

    def rank1(probes: NDArray[np.float32], gallery: NDArray[np.float32]) -> float:
        right = 0
        for row in first.values():
            others = np.flatnonzero((people != people[row]) | (cameras != cameras[row]))
            right += people[others[np.argmax(gallery[others] @ probes[row])]] == people[row]
        return 100 * right / len(first)

    own = embed(Preprocessing())
    factor = 1 / (255 * float(np.mean(IMAGENET_STD)))
    mean = tuple(255 * factor * value for value in IMAGENET_MEAN)
    print(f"\ngtrack's own preprocessing: rank-1 {rank1(own, own):.1f}")
    for interpolation in ("linear", "nearest"):
        vectors = embed(Preprocessing(scale=factor, mean=mean, std=(1.0, 1.0, 1.0), interpolation=interpolation))  # type: ignore[arg-type]
        cosines = (vectors * own).sum(axis=1)
        print(
            f"one factor ({factor:.6f}), {interpolation}: cosine with gtrack's {np.median(cosines):.4f} (median), "
            f"{cosines.min():.4f} (minimum); rank-1 in its own gallery {rank1(vectors, vectors):.1f}, in gtrack's "
            f"{rank1(vectors, own):.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    weights = str(data / "weights" / "osnet_x0_25_msmt17.onnx")
    embedder = load_embedder(weights, threads=1)
    halves = [list(run_pipeline(data, embedder, 0, HALF)), list(run_pipeline(data, embedder, HALF, 795))]
    with tempfile.TemporaryDirectory() as folder:
        measure_names(data, embedder, weights, halves, Path(folder))
        measure_two_cameras(data, embedder, halves, Path(folder))
    measure_nvinfer_arithmetic(data, weights)


if __name__ == "__main__":
    main()
