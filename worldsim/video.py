"""Video files and GIFs; pixels are `(t, h, w, 3)` uint8 throughout.

PyAV is imported where a video is read or written and nowhere else, so machines without it can
record into memory and train.
"""

import os
from contextlib import nullcontext, suppress
from fractions import Fraction
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
        self._container = av.open(f"file:{self._partial}", "w", format="mp4")
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
    with replacing(path) as part, av.open(f"file:{part}", "w", format="gif") as container:
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
