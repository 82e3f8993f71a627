"""Stills and contact sheets; pixels are `(h, w, 3)` uint8, red first."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from gymnasium import Env, Space, spaces

from worldsim.files import replacing


def is_picture(space: Space) -> bool:
    """Return whether a space's points are frames."""
    box = isinstance(space, spaces.Box) and space.dtype == np.uint8
    return box and len(space.shape) == 3 and space.shape[2] == 3


def frame_of(env: Env, observation: Any) -> np.ndarray:
    """Return the pixels `(h, w, 3)` that go with an observation, in an array of their own.

    Raises:
        ValueError: If the env's observations are no pictures and it renders none.
    """
    seen = is_picture(env.observation_space)
    return as_frame(observation if seen else env.render(), type(env.unwrapped).__name__)


def as_frame(pixels: Any, whose: str) -> np.ndarray:
    """Return pixels `(h, w, 3)` of some env in an array of their own.

    Raises:
        ValueError: If they are none.
    """
    frame = np.array(pixels)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        got = "None" if frame.dtype == object else f"{frame.dtype} {frame.shape}"
        raise ValueError(
            f"an env must render uint8 pixels of shape (h, w, 3), got {got} from {whose}; "
            'make it with render_mode="rgb_array"'
        )
    return frame


def contact_sheet(
    rows: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
    scale: int = 1,
    columns: int | None = None,
) -> np.ndarray:
    """Lay clips out as rows of frames.

    Args:
        rows: Clips `(t, h, w, 3)` uint8; they may differ in `t` and in size.
        labels: A line of text above each row.
        scale: Whole factor by which pixels are enlarged.
        columns: Frames shown per clip, evenly spaced; None shows all.

    Returns:
        `(H, W, 3)` uint8 on a dark ground.
    """
    if not rows or (labels is not None and len(labels) != len(rows)):
        raise ValueError(
            f"`rows` must hold a clip per label, got {len(rows)} clips and "
            f"{None if labels is None else len(labels)} labels"
        )
    gap, strips = 2, []
    for i, clip in enumerate(rows):
        t = len(clip)
        shown = np.linspace(0, t - 1, min(columns or t, t)).round().astype(int)
        clip = np.asarray(clip)[shown].repeat(scale, 1).repeat(scale, 2)
        cells = np.pad(clip, [(0, 0), (gap, 0), (gap, 0), (0, 0)], constant_values=24)
        strip = np.concatenate(list(cells), axis=1)
        strips += [_label(labels[i], strip.shape[1]), strip] if labels else [strip]
    width = max(strip.shape[1] for strip in strips) + gap
    padded = [
        np.pad(strip, [(0, 0), (0, width - strip.shape[1]), (0, 0)], constant_values=24)
        for strip in strips
    ]
    return np.pad(np.concatenate(padded), [(0, gap), (0, 0), (0, 0)], constant_values=24)


def tile(frames: np.ndarray) -> np.ndarray:
    """Lay frames `(n, h, w, 3)` out in a nearly square grid `(H, W, 3)`."""
    n, h, w, c = frames.shape
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows * columns, h, w, c), frames.dtype)
    sheet[:n] = frames
    return np.vstack([np.hstack(row) for row in sheet.reshape(rows, columns, h, w, c)])


def draw_text(frame: np.ndarray, text: str, x: int, y: int, size: float = 0.4) -> None:
    """Write a line of light text onto `frame (h, w, 3)`, in place, its base line at `y`."""
    cv2.putText(frame, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, (230,) * 3, 1, cv2.LINE_AA)


def _label(text: str, width: int) -> np.ndarray:
    room = max(1, width // 7)  # characters
    band = np.full((18, width, 3), 24, np.uint8)
    text = text.encode("ascii", "replace").decode()  # OpenCV's fonts know no more
    draw_text(band, text if len(text) <= room else text[: room - 3] + "...", 3, 13)
    return band


def write_image(path: str | Path, frame: np.ndarray) -> None:
    """Write `frame (h, w, 3)` uint8 as PNG or JPEG, as the suffix says."""
    path = Path(path)
    suffix = path.suffix or ".png"
    if not cv2.haveImageWriter(f"x{suffix}"):
        raise ValueError(f"an image ends in .png or .jpg, got {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(suffix, cv2.cvtColor(np.asarray(frame), cv2.COLOR_RGB2BGR))
    with replacing(path) as part:
        part.write_bytes(data.tobytes())


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture file as `(h, w, 3)` uint8."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no image at {path}; check the path")
    return decode_image(path.read_bytes(), str(path))


def decode_image(data: bytes, name: str = "image") -> np.ndarray:
    """Decode the bytes of a picture file into `(h, w, 3)` uint8."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(
            f"{name} must be a PNG, JPEG or other picture, got {len(data)} bytes of none"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def cut_to(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut the middle of an image and resize it to `(h, w)`."""
    h, w = size
    if image.shape[:2] == (h, w):
        return image
    factor = max(h / image.shape[0], w / image.shape[1])
    inner = max(w, round(factor * image.shape[1])), max(h, round(factor * image.shape[0]))
    shrunk = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if factor < 1 else 1)
    top, left = (shrunk.shape[0] - h) // 2, (shrunk.shape[1] - w) // 2
    return np.ascontiguousarray(shrunk[top : top + h, left : left + w])
