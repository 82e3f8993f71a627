"""What goes over the wire between a session and its pages; `docs/web-protocol.md` describes it.

A frame and all that is said about it travel in one binary message, so the two never part:
`uint32 n, big endian | n bytes of JSON | JPEG`. Everything else is JSON text.
"""

import json
import math
import struct
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pygame
from gymnasium import spaces

from worldsim.video import import_av
from worldsim.viewing.hud import has_wheel, lay_out_keys
from worldsim.viewing.stage import Moment, Stage

SUBPROTOCOL = "worldsim.v1"
LONGEST = 2**14  # bytes of a message from a page
LONGEST_PROMPT = 1000  # letters
# what a page may say: the fields of each message and their types
FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "press": {"key": (str,)},
    "release": {"key": (str, type(None))},
    "typing": {},
    "prompt": {"text": (str,), "begin": (bool, type(None))},
    "seen": {"frame": (int,)},
}


def read_message(data: str | bytes) -> dict[str, Any]:
    """Read one message of a page.

    Returns:
        Its `type` and the fields of that type; one that may be left out and is, is None.

    Raises:
        ValueError: If it is not such a message; the text is meant for whoever sent it.
    """
    try:
        message = json.loads(data) if isinstance(data, str) else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object, sent as text")
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise ValueError(f"`type` must be one of {', '.join(FIELDS)}, got {_short(kind)}")
    read = {"type": kind} | {name: message.get(name) for name in FIELDS[kind]}
    for name, types in FIELDS[kind].items():
        if type(read[name]) not in types:
            wanted = " or ".join({type(None): "null"}.get(t, t.__name__) for t in types)
            raise ValueError(f"`{name}` of {kind} must be {wanted}, got {_short(read[name])}")
    if kind == "prompt" and not (
        len(read["text"]) <= LONGEST_PROMPT and read["text"].isprintable()
    ):
        raise ValueError(f"a prompt is one line of at most {LONGEST_PROMPT} printable letters")
    return read


def stage_message(stage: Stage, fps: float, bound: Iterable[int]) -> dict[str, Any]:
    """Say what is played, by which keys: what stays the same from frame to frame."""
    h, w = stage.moment.frame.shape[:2]
    layout = lay_out_keys(stage.bindings)
    return {
        "type": "stage",
        "title": stage.title,
        "imagined": stage.imagined,
        "fps": fps,
        "size": [w, h],
        "sampler_steps": stage.sampler_steps,
        "prompts": stage.prompts,
        "takes_prompts": stage.offers("set_prompt"),
        "wheel": has_wheel(stage.env.action_space),
        "keys": [
            {"names": key_names(codes), "label": label, "column": column, "row": row}
            for codes, label, column, row in layout
        ],
        "bound": key_names(bound),
    }


def frame_message(number: int, stage: Stage, moment: Moment, jpeg: bytes) -> bytes:
    """Pack a frame with what there is to say about it."""
    about = {
        "frame": number,
        "step": moment.step,
        "seed": moment.seed,
        "reward": _number(moment.reward),
        "return": _number(moment.total),
        "rewards": [_number(reward) for reward in moment.rewards],
        "termination": _number(moment.termination),
        "doubt": _number(moment.doubt),
        "prompt": moment.prompt,
        "ended": moment.ended,
        "model_ms": _number(moment.model_ms),
        "action": _action(moment, stage.env.action_space),
        "keys": key_names(moment.keys),
        "answers": moment.pressed is not None,
    }
    head = json.dumps(about).encode()
    return struct.pack(">I", len(head)) + head + jpeg


def key_names(codes: Iterable[int]) -> list[str]:
    """Return pygame's names of keys, as messages carry them; sets of keys are sorted."""
    codes = sorted(codes) if isinstance(codes, frozenset) else codes
    return [pygame.key.name(code) for code in codes]


class JpegEncoder:
    """Turn frames into JPEGs of the best quality, with no colour subsampling."""

    def __init__(self) -> None:
        self._av, self._codec = import_av(), None

    def encode(self, frame: np.ndarray) -> bytes:
        """Encode one frame `(h, w, 3)` uint8."""
        h, w = frame.shape[:2]
        codec = self._codec
        if codec is None or (codec.height, codec.width) != (h, w):
            codec = self._codec = self._av.CodecContext.create("mjpeg", "w")
            codec.width, codec.height, codec.pix_fmt = w, h, "yuvj444p"
            codec.time_base = Fraction(1, 30)
            codec.thread_count = 1  # more would hold frames back
            codec.options = {"qmin": "1", "qmax": "1"}
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        (packet,) = codec.encode(picture.reformat(format="yuvj444p"))
        return bytes(packet)


def _action(moment: Moment, space: spaces.Space) -> list[float | None] | None:
    """Return the flat action; of a wheel as shares of its bounds."""
    if moment.action is None:
        return None
    action = moment.action / space.high if has_wheel(space) else moment.action
    return [_number(value) for value in action]


def _number(value: float | None) -> float | None:
    """Round what JSON can say; it knows neither infinity nor NaN."""
    return None if value is None or not math.isfinite(value) else round(float(value), 4)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
