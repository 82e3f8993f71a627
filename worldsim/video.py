"""Video files and GIFs; pixels are `(t, h, w, 3)` uint8 throughout.

PyAV is imported where a video is read or written and nowhere else, so machines without it can
record into memory and train.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from worldsim.files import claim_path, replacing
from worldsim.limits import check_choice

# For a network: no chroma subsampling, cheap random access. For people: what every player plays.
# No B-frames, so that episodes can be cut and joined packet by packet. Threads that slice frames
# of 64x64 would cost more than they bring.
QUALITIES: dict[str, dict[str, Any]] = {
    "people": {
        "codec": "libx264",
        "pix_fmt": "yuv420p",
        "options": {"crf": "18", "preset": "veryfast", "bf": "0", "movflags": "+faststart"},
    },
    "training": {
        "codec": "libx264",
        "pix_fmt": "yuv444p",
        "options": {"crf": "12", "preset": "veryfast", "g": "2", "bf": "0", "threads": "1"},
    },
    "lossless": {
        "codec": "libx264rgb",
        "pix_fmt": "rgb24",
        "options": {"crf": "0", "preset": "ultrafast", "g": "2", "bf": "0", "threads": "1"},
    },
}
SLACK = 1e-6  # seconds by which a time may be rounded
# Seconds before a frame from which on to look for a key frame: some containers are searched by the
# times of decoding, and what is found there may be shown too late.
BACK = (0.0, 2.0, 20.0, np.inf)


class VideoWriter:
    """Write a video frame by frame; the file appears whole at the end, or not at all.

    Used as a context manager. An exception inside leaves no file, and an older one untouched.

    Args:
        path: File to write, such as `drive.mp4`.
        fps: Frames per second.
        size: `(h, w)` of every frame.
        quality: "people" (yuv420p), "training" (yuv444p) or "lossless".
        numbered: Whether a number is added to the name if a file is there at the end, so that
            nothing is overwritten.

    Attributes:
        path: The file, which has its number once it is closed.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float,
        size: tuple[int, int],
        *,
        quality: str = "people",
        numbered: bool = False,
    ):
        check_choice("quality", quality, QUALITIES)
        if fps <= 0:
            raise ValueError(f"`fps` must be positive, got {fps}")
        self.path, self.size = Path(path), (int(size[0]), int(size[1]))
        self.numbered = numbered
        av = import_av()
        settings = QUALITIES[quality]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._container = av.open(str(self._partial), "w", format="mp4")
        self._rate = Fraction(fps).limit_denominator(10_000)
        self._stream = self._container.add_stream(
            settings["codec"], rate=self._rate, options=settings["options"]
        )
        # chroma of yuv420p lives on a grid of half the size
        self._pad = [n % 2 if settings["pix_fmt"] == "yuv420p" else 0 for n in self.size]
        self._stream.height = self.size[0] + self._pad[0]
        self._stream.width = self.size[1] + self._pad[1]
        self._stream.pix_fmt = settings["pix_fmt"]
        self._frame_type, self._count = av.VideoFrame, 0

    def write(self, frame: np.ndarray) -> None:
        """Add one frame, `(h, w, 3)` uint8."""
        if frame.shape != (*self.size, 3) or frame.dtype != np.uint8:
            raise ValueError(
                f"every frame must be uint8 of shape {(*self.size, 3)}, got {frame.dtype} "
                f"{frame.shape}"
            )
        if any(self._pad):
            frame = np.pad(frame, [(0, self._pad[0]), (0, self._pad[1]), (0, 0)], mode="edge")
        picture = self._frame_type.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts = self._count
        picture.time_base = 1 / self._rate
        self._container.mux(self._stream.encode(picture))
        self._count += 1

    def close(self, keep: bool = True) -> None:
        """Finish the file, or throw it away if not `keep`; closing twice is fine."""
        if self._container is None:
            return
        container, self._container = self._container, None
        keep = keep and self._count > 0
        try:
            try:
                if keep:
                    container.mux(self._stream.encode(None))
            finally:
                with nullcontext() if keep else suppress(Exception):  # what failed is known
                    container.close()
            if keep:
                self.path = claim_path(self.path) if self.numbered else self.path
                os.replace(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(keep=error is None)


def write_video(
    path: str | Path,
    frames: np.ndarray,
    fps: float,
    *,
    quality: str = "people",
    numbered: bool = False,
) -> Path:
    """Write `frames (t, h, w, 3)` uint8 as one MP4 file, whole or not at all; return which.

    With `numbered` its name gets a number where there is one.
    """
    frames = _checked(frames)
    with VideoWriter(path, fps, frames.shape[1:3], quality=quality, numbered=numbered) as video:
        for frame in frames:
            video.write(frame)
    return video.path


def _checked(frames: np.ndarray) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.ndim != 4 or not len(frames):
        raise ValueError(f"`frames` must be (t, h, w, 3) with t > 0, got shape {frames.shape}")
    return frames


def read_video(path: str | Path) -> np.ndarray:
    """Read a whole video, `(t, h, w, 3)` uint8."""
    return _read_timed(path)[1]


def read_video_at(path: str | Path, fps: float) -> np.ndarray:
    """Read a whole video at another pace: the frames shown nearest in time, `(t, h, w, 3)`."""
    times, frames = _read_timed(path)
    return frames[frames_at(times, fps)]


def _read_timed(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a whole video: the seconds at which its frames are shown, and these."""
    shown = list(iterate_video(path))
    if not shown:
        raise ValueError(f"{path} must hold a frame that can be seen, got none; check the file")
    return np.array([at for at, _ in shown]), np.stack([frame for _, frame in shown])


def frames_at(times: np.ndarray, fps: float) -> np.ndarray:
    """Choose the frames that show a film at another pace, those nearest in time.

    Args:
        times: `(n,)`, seconds at which each frame is shown.
        fps: Frames per second of the new pace.

    Returns:
        `(t,)`, numbers of frames; one that stands still comes twice.
    """
    count = int((times[-1] - times[0]) * fps + 0.1) + 1  # files round their times
    seconds = times[0] + np.arange(count) / fps
    return np.searchsorted((times[1:] + times[:-1]) / 2, seconds)


def frame_rate(path: str | Path) -> float:
    """Return how many frames of a video are shown in a second, on average.

    Raises:
        ValueError: If the file does not say.
    """
    with _open_film(path) as (_, stream):
        rate = stream.average_rate
    if not rate:
        raise ValueError(f"{path} must say at what rate its frames are shown; encode it again")
    return float(rate)


def read_frames(path: str | Path, start: float, count: int, fps: float) -> np.ndarray:
    """Read `count` frames of a video from the one shown at `start` seconds.

    Args:
        path: The video file; a frame shows every `1 / fps` seconds.
        start: Seconds from the beginning of the file.
        count: Frames to read.
        fps: Frames per second, for finding the first frame.

    Returns:
        `(count, h, w, 3)` uint8.
    """
    frames: np.ndarray | None = None
    filled = 0
    for _, frame in iterate_video(path, start, 0.5 / fps):
        if frames is None:
            frames = np.empty((count, *frame.shape), np.uint8)
        frames[filled] = frame
        filled += 1
        if filled == count:
            return frames
    raise ValueError(
        f"{path} must hold {count} frames from {start:.3f} s on, got {filled}; the file is cut "
        "off or its data set's meta/episodes do not belong to it"
    )


def iterate_video(
    path: str | Path, start: float = 0.0, slack: float = SLACK
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield a video's frames `(h, w, 3)` uint8 and the seconds of the file at which they are shown.

    Those of a camera that was turned come upright.

    Args:
        path: The video file.
        start: Seconds at which the first of them is shown.
        slack: Seconds by which that may be wrong; less than half of what a frame lasts.
    """
    for back in BACK:
        begin = max(0.0, start - slack - back)
        frames = _decode_from(path, begin)
        head = next(frames, None)
        if begin == 0 or (head and head[0] <= start + slack):
            break
    reformat = import_av().video.reformatter.VideoReformatter().reformat  # set up only once
    for seconds, frame in chain([head] if head else [], frames):
        if seconds >= start - slack:
            picture = reformat(frame, format="rgb24").to_ndarray()
            turns = round(frame.rotation / 90)
            yield seconds, np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _decode_from(path: str | Path, begin: float) -> Iterator[tuple[float, Any]]:
    """Decode a video from a key frame on, the one before `begin` seconds where it can be found."""
    with _open_film(path) as (container, stream):
        if stream.width * stream.height > 320 * 240:
            stream.thread_type = "AUTO"
        if container.format.name == "avi" and stream.codec_context.has_b_frames:
            # an AVI does not say when such frames are shown, but they come in order
            yield from zip(_shown_times(path), container.decode(stream), strict=False)
            return
        first = stream.start_time or 0
        if begin > 0:
            container.seek(int(begin / stream.time_base) + first, stream=stream)
        for frame in container.decode(stream):
            yield float((stamp(frame) - first) * stream.time_base), frame


def _shown_times(path: str | Path) -> list[float]:
    """Return the seconds at which the frames of a video are shown, without decoding them."""
    with _open_film(path) as (container, stream):
        packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
        first = stream.start_time or 0
        return [float((at - first) * stream.time_base) for at in sorted(map(stamp, packets))]


def stamp(packet: Any) -> int:
    """Return when a packet or a frame is shown, in units of its stream's time base."""
    return packet.dts if packet.pts is None else packet.pts


@contextmanager
def _open_film(path: str | Path) -> Iterator[tuple[Any, Any]]:
    """Open a video, and its first stream of pictures."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no video at {path}; check the path")
    with open_input(path) as container:
        if not container.streams.video:
            raise ValueError(f"{path} must hold a video, got a file without one; check the path")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError(
                f"{path} must have a codec that PyAV knows, got another; encode it again as H.264"
            )
        yield container, stream


@contextmanager
def open_input(path: str | Path) -> Iterator[Any]:
    """Open a video with PyAV, for reading packets or frames; errors name the file."""
    av = import_av()
    try:
        with av.open(str(path)) as container:
            yield container
    except av.error.InvalidDataError as error:
        raise ValueError(f"{path} must be a whole video file, got: {error.strerror}") from None


def import_av() -> ModuleType:
    """Import PyAV, or say what to do without it."""
    try:
        import av
    except ImportError:
        raise ImportError(
            "video files need PyAV: `pip install av`; without it, record into memory "
            "(`record(..., out=None)`) and look at frames with `contact_sheet` and `write_image`"
        ) from None
    return av


def write_gif(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """Write `frames (t, h, w, 3)` uint8 as an endless GIF with one palette for all frames."""
    av, frames, path = import_av(), _checked(frames), Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    t, h, w, _ = frames.shape
    graph = av.filter.Graph()
    rate = Fraction(fps).limit_denominator(10_000)
    source = graph.add_buffer(width=w, height=h, format="rgb24", time_base=1 / rate)
    split, palette = graph.add("split"), graph.add("palettegen")
    use, sink = graph.add("paletteuse", "dither=bayer:bayer_scale=5"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    with replacing(path) as part, av.open(str(part), "w", format="gif") as container:
        stream = container.add_stream("gif", rate=rate)
        stream.width, stream.height, stream.pix_fmt = w, h, "pal8"
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = i, 1 / rate
            graph.push(picture)
        graph.push(None)
        for _ in range(t):
            container.mux(stream.encode(graph.pull()))
        container.mux(stream.encode(None))
