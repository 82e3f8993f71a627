"""Video files to frames `(t, h, w, 3)` uint8, by the time at which each is shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from worldsim.video import import_av

SLACK = 1e-6  # seconds by which a time may be rounded
# Seconds before a frame from which on to look for a key frame: some containers are searched by the
# times of decoding, and what is found there may be shown too late.
BACK = (0.0, 2.0, 20.0, np.inf)


def read_video(path: str | Path) -> np.ndarray:
    """Read a whole video, `(t, h, w, 3)` uint8."""
    shown = [frame for _, frame in iterate_video(path)]
    if not shown:
        raise ValueError(f"{path} must hold a frame that can be seen, got none; check the file")
    return np.stack(shown)


def read_video_at(
    path: str | Path, fps: float, look: Callable[[np.ndarray], np.ndarray] = lambda frame: frame
) -> np.ndarray:
    """Read a whole video at another pace: the frames shown nearest in time, `(t, h, w, 3)`.

    Args:
        path: The video file, which is read twice, so that no more of it is kept than is asked for.
        fps: Frames per second of the new pace.
        look: What to keep of a frame, such as a smaller one.
    """
    times = np.array([at for at, _ in iterate_video(path)])
    if not len(times):
        raise ValueError(f"{path} must hold a frame that can be seen, got none; check the file")
    wanted = frames_at(times, fps)
    once = set(wanted.tolist())
    kept = {i: look(frame) for i, (_, frame) in enumerate(iterate_video(path)) if i in once}
    return np.stack([kept[i] for i in wanted.tolist()])


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
        with av.open(f"file:{path}") as container:
            yield container
    except av.error.InvalidDataError as error:
        raise ValueError(f"{path} must be a whole video file, got: {error.strerror}") from None
