"""A small network that reads the truth off frames: the judge of imagined videos.

It is trained on real, labelled frames only and looks at three frames in a row. From them it tells
numbers (speed, turn, offset, heading, how much of the car is on the road), attributes of the scene
(biome, time, weather) and the action before the last of them (an inverse dynamics model). Numbers
count only up to the limits within which nine frames in ten lie: how far beside the road a lost car
is, nobody can see. What a clip shows of a scene is what its frames say together. What the probe
says of a dream is worth what it is worth on real frames, so its held-out scores travel with it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from tqdm import tqdm

from worldsim.devices import has_bf16
from worldsim.files import read_tensors, write_tensors
from worldsim.limits import check_least
from worldsim.measuring.labels import LOOK, Labelled, look_back
from worldsim.measuring.metrics import macro_f1, r_squared

CLIP = 16  # frames that a clip is judged by


@dataclass
class ProbeConfig:
    """What the probe reads, what it learns from, and how long."""

    numbers: tuple[str, ...] = ("speed", "turn", "offset", "heading", "on_road", "curvature")
    """Names of `state.*` columns to read; those a data set lacks are left out."""
    attributes: tuple[str, ...] = ("biome", "time", "weather", "theme", "air")
    """Attributes of the scene to read; those a data set lacks are left out."""
    episodes: int = 2560
    """Short episodes to record for the probe alone where the simulator can be made."""
    frames: int = 104000
    """Real frames to learn from, at most."""
    train_steps: int = 2000
    batch_size: int = 64
    """Windows of frames in a batch."""
    seed: int = 0

    def __post_init__(self) -> None:
        self.numbers, self.attributes = tuple(self.numbers), tuple(self.attributes)
        check_least(self, episodes=0, frames=1, train_steps=1, batch_size=1)


@dataclass(frozen=True)
class Reading:
    """What the probe sees in frames `1..t-1` of videos of `t` frames.

    Attributes:
        numbers: `(b, t - 1)` each, in the units of the recording.
        chances: `(b, t - 1, k)` each: the probability of each of `Probe.classes`.
    """

    numbers: dict[str, np.ndarray]
    chances: dict[str, np.ndarray]

    @property
    def classes(self) -> dict[str, np.ndarray]:
        """What each frame shows, `(b, t - 1)` integers each."""
        return {name: chance.argmax(-1) for name, chance in self.chances.items()}

    @property
    def shown(self) -> dict[str, np.ndarray]:
        """What each video shows, `(b,)` integers each."""
        return {name: together(chance) for name, chance in self.chances.items()}


def together(chances: np.ndarray) -> np.ndarray:
    """Return what frames show together: the class with the greatest product of `(..., t, k)`.

    A frame that is sure weighs more than one that sees little. None has a veto: no probability
    counts as less than 0.001.
    """
    return np.log(chances + 1e-3).sum(-2).argmax(-1)


class Probe(nn.Module):
    """Convolutional reader of windows of frames.

    Args:
        numbers: Mean and standard deviation of each number, by name.
        classes: The values of each attribute, by name.
        limits: The least and the greatest value that count, by name of the number.
    """

    def __init__(
        self,
        numbers: dict[str, tuple[float, float]],
        classes: dict[str, tuple[str, ...]],
        limits: dict[str, tuple[float, float]],
    ) -> None:
        super().__init__()
        self.numbers, self.classes, self.limits = numbers, classes, limits
        self.scores: dict[str, float] = {}
        self.learned_from = 0
        layers, width = [nn.PixelUnshuffle(2)], 12 * LOOK
        for out in (64, 96, 128):
            layers += [nn.Conv2d(width, out, 3, 2, 1), nn.GroupNorm(8, out), nn.ReLU()]
            width = out
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.hidden = nn.Linear(16 * width, 256)
        self.sizes = [len(numbers)] + [len(known) for known in classes.values()]
        self.head = nn.Linear(256, sum(self.sizes))

    def forward(self, windows: Tensor) -> Tensor:
        """Map `(m, LOOK, h, w, 3)` uint8 to `(m, outputs)`: numbers, then class logits."""
        x = rearrange(windows, "m t h w c -> m (t c) h w")
        x = x.float().contiguous(memory_format=torch.channels_last) / 127.5 - 1
        fast = has_bf16(torch.device("cpu"))  # 1.5 times as fast; the probe lives on the CPU
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            x = self.hidden(F.dropout(self.trunk(x), 0.1, self.training))
            return self.head(F.silu(x)).float()

    def within(self, name: str, values: np.ndarray) -> np.ndarray:
        """Clip the true values of a number to what counts."""
        return np.clip(values, *self.limits.get(name, (-np.inf, np.inf)))

    def read(self, frames: np.ndarray) -> Reading:
        """Read videos `(b, t, h, w, 3)` uint8 of at least two frames."""
        windows = look_back(frames.shape[1])[1:]
        videos = torch.from_numpy(np.ascontiguousarray(frames))
        parts = [self.look(video, windows) for video in videos]
        return Reading(
            *({name: np.stack([part[i][name] for part in parts]) for name in parts[0][i]}
              for i in range(2))
        )  # fmt: skip

    @torch.inference_mode()
    def look(self, frames: Tensor, windows: Tensor) -> tuple[dict, dict]:
        """Return numbers `(m,)` and chances `(m, k)` by name, for windows of frames."""
        outputs = torch.cat([self(frames[rows]) for rows in windows.split(256)])
        told, *logits = outputs.split(self.sizes, -1)
        scale = zip(self.numbers.items(), told.unbind(-1), strict=True)
        return (
            {n: self.within(n, (x * std + mean).numpy()) for (n, (mean, std)), x in scale},
            {n: x.softmax(-1).numpy() for n, x in zip(self.classes, logits, strict=True)},
        )

    def save(self, path: str | Path, key: str) -> None:
        """Write the probe; `key` says what it was made from."""
        made = {"numbers": self.numbers, "classes": self.classes, "limits": self.limits}
        about = made | {"scores": self.scores, "learned_from": self.learned_from}
        write_tensors(Path(path), self.state_dict(), {"key": key, "about": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path, key: str) -> "Probe | None":
        """Read a probe back; None if there is none that was made from `key`."""
        if not Path(path).exists():
            return None
        tensors, meta = read_tensors(Path(path))
        if meta.get("key") != key:
            return None
        about = json.loads(meta["about"])
        probe = cls(*(about[name] for name in ("numbers", "classes", "limits")))
        probe.load_state_dict(tensors)
        probe.scores, probe.learned_from = about["scores"], about["learned_from"]
        return probe.to(memory_format=torch.channels_last).eval()


def train_probe(train: Labelled, test: Labelled, cfg: ProbeConfig, progress: bool = True) -> Probe:
    """Train a probe on some real frames and score it on others (`probe.scores`)."""
    torch.manual_seed(cfg.seed)
    # actions and shares have limits of their own
    free = [k for k in train.numbers if k != "on_road" and not k.startswith("action.")]
    limits = {k: _limits(train.numbers[k]) for k in free}
    counted = {k: np.clip(v, *limits.get(k, (-np.inf, np.inf))) for k, v in train.numbers.items()}
    scale = {k: (float(np.nanmean(v)), float(np.nanstd(v)) + 1e-6) for k, v in counted.items()}
    probe = Probe(scale, train.names, limits).to(memory_format=torch.channels_last).train()
    columns = [(v - scale[k][0]) / scale[k][1] for k, v in counted.items()]
    wanted = torch.from_numpy(np.stack(columns, -1) if columns else np.zeros((len(train), 0)))
    labels = [torch.from_numpy(train.classes[name]) for name in probe.classes]
    optimizer = torch.optim.AdamW(probe.parameters(), lr=1.5e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=cfg.train_steps)
    g = torch.Generator().manual_seed(cfg.seed)
    for _ in tqdm(range(cfg.train_steps), "probe", disable=not progress, leave=False):
        rows = torch.randint(len(train), (cfg.batch_size,), generator=g)
        outputs = probe(train.frames[train.windows[rows]])
        loss = _loss(outputs, wanted[rows], [column[rows] for column in labels], probe.sizes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    probe.eval().learned_from = len(train)
    probe.scores = score_probe(probe, test)
    return probe


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Return what nine in ten values lie between; all of them, where most are one and the same."""
    low, high = np.nanquantile(values, [0.05, 0.95])
    return (float(low), float(high)) if low < high else (-np.inf, np.inf)


def _loss(outputs: Tensor, numbers: Tensor, labels: list[Tensor], sizes: list[int]) -> Tensor:
    """Add up squared errors and cross entropies where the truth is known."""
    told, *logits = outputs.split(sizes, -1)
    known = ~numbers.isnan()
    error = torch.where(known, told - numbers.nan_to_num(), 0).square().clamp(max=9)
    loss = error.sum() / max(1, len(outputs))
    for one, label in zip(logits, labels, strict=True):
        if (label >= 0).any():
            loss = loss + F.cross_entropy(one, label, ignore_index=-1)
    return loss


def score_probe(
    probe: Probe, test: Labelled, through: Callable[[Tensor], Tensor] | None = None
) -> dict[str, float]:
    """Score a probe on labelled frames.

    Args:
        probe: Trained.
        test: Frames that it has not seen.
        through: Function on `(n, h, w, 3)` uint8 tensors that the frames pass first; a tokenizer's
            round trip, to see what that costs.

    Returns:
        R2 of each number (for `on_road` also the accuracy at 0.5), accuracy of each attribute on
        single frames and on clips of 16 frames in which it does not change, macro F1 of a discrete
        action.
    """
    frames = test.frames if through is None else through(test.frames)
    numbers, chances = probe.look(frames, test.windows)
    scores = {}
    for name, read in numbers.items():
        if name not in test.numbers:
            continue
        real = probe.within(name, test.numbers[name])
        seen = ~np.isnan(real)
        scores[f"{name}_r2"] = r_squared(read[seen], real[seen])
        if name == "on_road":
            scores["on_road_accuracy"] = float(((read > 0.5) == (real > 0.5)).mean())
    for name, chance in chances.items():
        if name not in test.classes:
            continue
        known = probe.classes[name]
        order = [known.index(v) if v in known else -2 for v in test.names[name]]
        real = np.array([*order, -1])[test.classes[name]]
        seen, read = real != -1, chance.argmax(-1)
        hit = read[seen] == real[seen]
        if name == "action":
            scores["action_f1"] = macro_f1(read[seen], real[seen])
        else:
            clips = _clips(test.stretch, real)
            right = [together(chance[clip]) == real[clip.start] for clip in clips]
            scores[f"{name}_of_clips"] = float(np.mean(right)) if right else float("nan")
        scores[f"{name}_accuracy"] = float(hit.mean()) if seen.any() else float("nan")
    return scores


def _clips(stretch: np.ndarray, labels: np.ndarray) -> list[slice]:
    """Cut runs of one stretch and one known label into clips."""
    breaks = np.flatnonzero(np.diff(stretch) | np.diff(labels)) + 1
    bounds = [0, *breaks.tolist(), len(labels)]
    return [
        slice(at, at + CLIP)
        for first, last in zip(bounds[:-1], bounds[1:], strict=True)
        for at in range(first, last - CLIP + 1, CLIP)
        if labels[first] != -1
    ]
