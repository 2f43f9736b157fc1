"""The report: its content, that it needs nothing else, and its display in a browser."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest
from support.browser import browse, needs_chromium
from support.tracks import make_detection, make_document

from tracking import TrackResult, build_timeline, export_tracks, track_video
from tracking.errors import VideoError
from tracking.results.best_crops import BestCrops, CropCandidate, group_by_time
from tracking.results.crop_images import MAX_IMAGE_BYTES, cut_crops, open_video
from tracking.results.reading import TrackReader, read_tracks
from tracking.synthetic.rendering import Scene
from tracking.video.writer import VideoWriter

EVIL = "<script>document.title='owned'</script>\"'&"


class Page(HTMLParser):
    """The parts of a page that the tests need: its tags with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._inside = ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self.text += data

    def all(self, tag: str, css: str | None = None) -> list[dict[str, str]]:
        return [a for name, a in self.tags if name == tag and (css is None or css in a.get("class", "").split())]

    @property
    def pictures(self) -> list[bytes]:
        return [base64.b64decode(a["src"].removeprefix("data:image/jpeg;base64,")) for a in self.all("img")]


@pytest.fixture(scope="module")
def result(scene: Scene) -> TrackResult:
    return track_video(
        dets_json=scene.detections, video=scene.video, gallery=scene.gallery, reid_weights="builtin", no_progress=True
    )


@pytest.fixture(scope="module")
def report(result: TrackResult, scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a real run."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    export_tracks(result, path, video=scene.video)
    return path


def test_needs_no_other_files(report: Path) -> None:
    page = Page(report)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "audio", "video"), tag
        for key in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")), (tag, key, value)
    assert not re.search(r"https?://|@import|url\(", page.source.replace("http-equiv", ""))
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} <= set(ids), "every link leads somewhere"


def test_shows_identities_and_issues(report: Path, scene: Scene) -> None:
    page = Page(report)
    for words in ("Known identities", "Tracks without a name", "Issues to check", "gallery_match_threshold", "amber"):
        assert words in page.text
    rows = page.all("div", "row")
    assert len(rows) == len(page.all("article", "card")) > 6
    assert all(a["aria-label"] for a in page.all("svg"))
    images = page.all("img")
    assert len(images) > 20
    assert all(re.fullmatch(r".+ at \d:\d\d\.\d", a["alt"]) for a in images)
    for picture in page.pictures:
        assert len(picture) <= MAX_IMAGE_BYTES
        pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        assert 8 < max(pixels.shape[:2]) <= 168
    assert report.stat().st_size < 2_000_000


@pytest.mark.parametrize("thumbnails", [0, 7])
def test_pictures_are_limited_and_shared(thumbnails: int, scene: Scene, tmp_path: Path) -> None:
    width, height = scene.config.width, scene.config.height
    people = [f"p{n}" for n in range(5)]
    frames = {
        n: [make_detection(str(i), name, 0.01, box=(40.0 * i, 10, 40.0 * i + 30, 80)) for i, name in enumerate(people)]
        for n in range(30)
    }
    content = make_document(frames, video={"width": width, "height": height, "fps": 25})
    export_tracks(content, tmp_path / "r.html", video=scene.video, thumbnails=thumbnails)
    page = Page(tmp_path / "r.html")
    assert len(page.all("img")) == thumbnails
    shown = {a["alt"].split(" at ")[0] for a in page.all("img")}
    assert shown == (set(people) if thumbnails else set()), "each row has one crop before any row has two"


def test_reports_that_the_video_is_missing(tmp_path: Path) -> None:
    export_tracks(make_document({n: [make_detection("1", "ann", 0.1)] for n in range(20)}), tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    assert "made without the video" in page.text
    assert page.all("img") == []
    assert "None: no name changed" in page.text


def test_text_of_users_is_escaped(tmp_path: Path) -> None:
    frames = {
        n: [make_detection("<b>1", EVIL, 0.24 if n < 9 else 0.1, class_name="<i>"), make_detection("</style>")]
        for n in range(40)
    }
    content = make_document(frames, video={"path": f"x/{EVIL}"}, detector={EVIL: [EVIL]}, created_at_utc=EVIL)
    export_tracks(content, tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert not page.all("b")
    assert not page.all("i", "")
    assert EVIL in page.text
    assert [a["data-label"] for a in page.all("div", "row")] == [EVIL, "track </style>"]


def test_a_long_document_makes_a_short_report(tmp_path: Path) -> None:
    frames: dict[int, list[dict[str, Any]]] = {}
    for n in range(2000):
        # A name that flickers, and a new nameless track every second frame.
        frames[n] = [make_detection("1", f"p{n // 3 % 300}", 0.1), make_detection(str(100 + n // 2))]
    export_tracks(make_document(frames), tmp_path / "r.html")
    page = Page(tmp_path / "r.html")
    assert [len([r for r in page.all("div", "row") if r["data-kind"] == k]) for k in ("known", "unnamed")] == [200, 60]
    assert "100 more, in view for a shorter time" in page.text
    assert "940 more, in view for a shorter time" in page.text
    assert len(page.all("article", "issue")) == 60
    assert (tmp_path / "r.html").stat().st_size < 1_500_000


def film(path: Path, frames: int = 30, size: tuple[int, int] = (160, 120)) -> Path:
    """A grey clip in which the left half of frames 10 to 19 is a sharp chequerboard."""
    writer = VideoWriter(path, width=size[0], height=size[1], fps=10, fourcc="MJPG")
    for number in range(frames):
        image = np.full((size[1], size[0], 3), 90 + number, np.uint8)
        if 10 <= number < 20:
            image[:, : size[0] // 2] = 255 * (np.indices((size[1], size[0] // 2)).sum(0)[..., None] // 8 % 2)
        writer.write(image)
    writer.close()
    return path


def test_rejects_another_video(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.avi")
    content = make_document({n: [make_detection("1", "ann", 0.1)] for n in range(40)})
    with pytest.raises(VideoError, match=r"200 x 100 pixels, but .* has 160 x 120"):
        export_tracks(content, tmp_path / "r.html", video=clip)
    assert not (tmp_path / "r.html").exists()


def test_a_report_finds_the_video_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the path in the header, from here or from above the tracks, or beside them; a wrong video is not taken."""
    run = tmp_path / "work" / "out" / "clip"
    run.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    tracks = run / "tracked.json"
    frames = {n: [make_detection("1", "ann", 0.1)] for n in range(20)}

    def images(video: str, **config: str) -> tuple[Path | None, str]:
        content = make_document(frames, video={"fps": 10, "width": 160, "height": 120})
        content["tracker"]["config"] = {**content["tracker"]["config"], "video": video, **config}
        tracks.write_bytes(orjson.dumps(content))
        (done,) = export_tracks(tracks, tmp_path / "r.html")
        assert bool(Page(tmp_path / "r.html").all("img")) == (done.video is not None)
        return done.video, " ".join(done.notes)

    for name in ("videos/clip.avi", "rtsp://10.0.0.1/clip.avi", "camera 0", "x" * 5000, "a\0b"):
        found, note = images(name)
        assert found is None
        assert "the report has no images: its video was not found" in note
        assert f"nor beside {tracks}. To have them, give the video with `video`." in note
    (tmp_path / "work" / "videos").mkdir()
    clip = film(tmp_path / "work" / "videos" / "clip.avi")
    for name in ("videos/clip.avi", str(clip), "work/videos/clip.avi"):
        found, note = images(name)
        assert (found and found.resolve(), note) == (clip, "")
    found, note = images("videos/clip.avi", blur="all")
    assert found is None
    assert "the run blurred people" in note
    clip.rename(run / "clip.avi")
    for name in ("videos/clip.avi", "C:\\videos\\clip.avi", "/nowhere/clip.avi"):
        assert images(name) == (run / "clip.avi", "")
    film(run / "clip.avi", size=(200, 100))
    found, note = images("videos/clip.avi")
    assert found is None
    assert "160 x 120 pixels, but" in note


def test_a_video_that_ends_early_is_noted(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.avi")
    content = make_document({n: [make_detection("1", "ann", 0.1)] for n in range(40)}, video={"fps": 10})
    (done,) = export_tracks(content, tmp_path / "r.html", video=clip)
    assert "ends at frame 29" in done.notes[0]
    page = Page(tmp_path / "r.html")
    assert "ends at frame 29" in page.text
    assert 0 < len(page.all("img")) < 8


def test_sharp_crops_are_preferred(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.avi")
    flat, sharp = CropCandidate(5, (10, 10, 60, 110), 0.5), CropCandidate(15, (10, 10, 60, 110), 0.4)
    outside, late = CropCandidate(6, (-90, 0, -20, 50), 0.5), CropCandidate(99, (10, 10, 60, 110), 0.5)
    calls: list[int] = []
    with open_video(clip, (160, 120), "tracks") as reader:
        pictures = cut_crops(reader, [sharp, late, flat, outside], lambda done, total: calls.append(done))
    assert set(pictures) == {flat, sharp}
    assert pictures[sharp].quality > pictures[flat].quality
    assert calls[-1] == 30


def test_noise_fits_into_a_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (400, 400, 3), np.uint8)
    writer = VideoWriter(tmp_path / "n.avi", width=400, height=400, fps=10, fourcc="MJPG")
    writer.write(noise)
    writer.close()
    whole = CropCandidate(0, (0, 0, 400, 400), 1.0)
    with open_video(tmp_path / "n.avi", None, "tracks") as reader:
        assert len(cut_crops(reader, [whole])[whole].jpeg) <= MAX_IMAGE_BYTES


def best_crops_of(reader: TrackReader) -> BestCrops:
    crops = BestCrops(reader.size, has_tracks=reader.has_tracks)
    for frame in reader:
        crops.add(frame)
    return crops


def test_best_crops_are_large_whole_uncovered_and_spread() -> None:
    frames = {}
    for n in range(1000):
        good = n % 100 == 50
        box = (20, 10, 60, 90) if good else (0, 10, 40, 90)  # cut by the frame's edge unless good
        frames[n] = [make_detection("1", "ann", 0.1, box=box, score=0.9)]
        if n == 150:  # hidden
            frames[n].append(make_detection("2", box=(22, 12, 62, 92), score=0.9))
    kept = best_crops_of(read_tracks(make_document(frames))).of("1", "ann")
    assert len(kept) <= 12
    best = [m.frame for m in kept if m.quality > 0.5]
    assert len(best) >= 5
    assert all(frame % 100 == 50 and frame != 150 for frame in best)
    assert max(best) - min(best) > 600


def test_groups_in_time_keep_the_best() -> None:
    crops = [CropCandidate(n, (0, 0, 1, 1), quality) for n, quality in enumerate([1, 2, 3, 9, 8, 7, 4, 5, 6])]
    assert [[crop.frame for crop in group] for group in group_by_time(crops, 3)] == [[2, 1], [3, 4], [8, 7]]
    assert [len(group) for group in group_by_time(crops, 99)] == [1] * 9
    assert group_by_time([], 3) == group_by_time(crops, 0) == []


@needs_chromium
def test_a_browser_shows_it_without_errors(report: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    # A click on the filter, to see that the script works under the page's own policy.
    probe_script = """<script>addEventListener("load", () => {
      document.querySelector('[data-kind="unnamed"]').click();
      const data = document.body.dataset;
      data.left = document.querySelectorAll(".row:not([hidden])").length;
      data.images = [...document.images].filter((i) => i.naturalWidth > 0).length;
      data.wide = document.documentElement.scrollWidth > innerWidth;
      data.paper = getComputedStyle(document.body).backgroundColor;
    })</script></body>"""
    page.write_text(report.read_text(encoding="utf-8").replace("</body>", probe_script), encoding="utf-8")
    counts = timeline_counts(report)
    dark = ["--window-size=500,900", "--blink-settings=preferredColorScheme=0"]
    for words, paper in ((["--window-size=1200,900"], "rgb(255, 255, 255)"), (dark, "rgb(21, 24, 29)")):
        done = browse(page, *words, "--dump-dom")
        assert "CONSOLE" not in done.stderr, done.stderr
        assert f'data-left="{counts["known"]}"' in done.stdout
        assert f'data-images="{counts["images"]}"' in done.stdout
        assert 'data-wide="false"' in done.stdout, "nothing is wider than the window"
        assert f'data-paper="{paper}"' in done.stdout


def timeline_counts(report: Path) -> dict[str, int]:
    page = Page(report)
    kinds = [row["data-kind"] for row in page.all("div", "row")]
    assert kinds.count("unnamed") > 0
    return {"known": kinds.count("known"), "images": len(page.all("img"))}


def test_the_timeline_and_the_report_agree(report: Path, result: TrackResult) -> None:
    timeline = build_timeline(result)
    assert [row["data-label"] for row in Page(report).all("div", "row")] == [p.label for p in timeline.rows]


@pytest.mark.parametrize("fps", [1e-6, 0.001, 10_000.0, 1e9])
def test_a_frame_rate_that_no_video_has_costs_no_time(fps: float, tmp_path: Path) -> None:
    """The time axis had a mark for every day of the thousands of years that the rate made of the frames."""
    frames = {number: [make_detection("1", "ann", 0.1)] for number in (0, 2**31 - 2)}
    content = make_document(frames, fps=fps)
    export_tracks(content, tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size < 200_000
    assert build_timeline(content).fps == (fps if 0.001 <= fps <= 10_000 else None)
