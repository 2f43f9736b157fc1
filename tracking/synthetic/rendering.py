"""Write a synthetic scene to files: its video, detections, gallery and ground truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gallery_db.atomic_files import atomic_path
from tracking.errors import OutputError, VideoError
from tracking.synthetic.config import SceneConfig, cast_names
from tracking.synthetic.gallery_crops import gallery_crops
from tracking.synthetic.scene import detections_header, frame_entry, iter_scene
from tracking.synthetic.texture import import_cv2

__all__ = ["Scene", "render_scene"]


@dataclass(frozen=True, slots=True)
class Scene:
    """The files of a rendered scene.

    Attributes:
        folder: The folder that holds the others.
        video: The clip, .mp4.
        detections: Its detections, det-v1.
        gallery: A folder with one sub-folder of crops for each known person.
        truth: JSON: ``known`` and ``strangers`` (names) and ``frames``, each with ``frame`` and
            ``people`` (``name``, ``box``, ``visible``).
        config: The options that it was made with.
    """

    folder: Path
    video: Path
    detections: Path
    gallery: Path
    truth: Path
    config: SceneConfig


def render_scene(
    folder: str | Path,
    config: SceneConfig | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Scene:
    """Write a scene: ``scene.mp4``, ``detections.json``, ``truth.json`` and ``gallery/<name>/*.jpg``.

    Existing files of these names are overwritten.

    Args:
        folder: Output folder; created if it does not exist.
        config: Options of the scene; None for the default scene.
        progress: Called after each frame with the number of frames done and the total.

    Raises:
        OutputError: The folder cannot be written.
        VideoError: OpenCV cannot write .mp4 on this machine.
    """
    cv2 = import_cv2()
    config = SceneConfig() if config is None else config
    folder = Path(folder)
    scene = Scene(
        folder=folder,
        video=folder / "scene.mp4",
        detections=folder / "detections.json",
        gallery=folder / "gallery",
        truth=folder / "truth.json",
        config=config,
    )
    known, strangers = cast_names(config)
    try:
        for name in known:
            (scene.gallery / name).mkdir(parents=True, exist_ok=True)
        counts: dict[str, int] = {}
        for name, crop in gallery_crops(config):
            number = counts[name] = counts.get(name, 0) + 1
            _, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 92])
            with atomic_path(scene.gallery / name / f"{name}-{number}.jpg", flush=False) as path:
                path.write_bytes(data.tobytes())
            with atomic_path(scene.gallery / name / f"{name}-{number}.jpg", flush=False) as crop_part:
                crop_part.write_bytes(data.tobytes())
        with (
            atomic_path(scene.video) as video_part,
            atomic_path(scene.detections) as detections_part,
            atomic_path(scene.truth) as truth_part,
        ):
            writer = cv2.VideoWriter(
                str(video_part), cv2.VideoWriter_fourcc(*"mp4v"), config.fps, (config.width, config.height)
            )
            try:
                if not writer.isOpened():
                    raise VideoError(
                        f"{scene.video}: OpenCV cannot open a video of format mp4v for writing.",
                        hint="Check that the folder can be written, and that opencv-python was built with FFmpeg.",
                    )
                with (
                    detections_part.open("w", encoding="utf-8") as detections,
                    truth_part.open("w", encoding="utf-8") as truth,
                ):
                    detections.write(json.dumps(detections_header(config, scene.video.name))[:-1] + ', "frames": [')
                    truth.write(json.dumps({"known": known, "strangers": strangers})[:-1] + ', "frames": [')
                    for item in iter_scene(config):
                        writer.write(item.image)
                        separator = ",\n" if item.frame else "\n"
                        detections.write(separator + json.dumps(frame_entry(item)))
                        people = [{"name": t.name, "box": list(t.box), "visible": t.visible} for t in item.truth]
                        truth.write(separator + json.dumps({"frame": item.frame, "people": people}))
                        if progress is not None:
                            progress(item.frame + 1, config.frames)
                    detections.write("\n]}\n")
                    truth.write("\n]}\n")
            finally:
                writer.release()
    except OSError as error:
        raise OutputError(
            f"{folder}: the scene cannot be written there: {error.strerror or error}.", hint="Choose another folder."
        ) from error
    return scene
