"""A small network that reads the truth off frames: the judge of imagined videos.

It is trained on real, labelled frames only and looks at two frames in a row. From them it tells
numbers (speed, offset, heading, how much of the car is on the road), attributes of the scene
(biome, time, weather) and the action between the two (an inverse dynamics model). Numbers count
only up to the limits within which nine frames in ten lie: how far beside the road a lost car is,
nobody can see. What the probe says of a dream is worth what it is worth on real frames, so its
held-out scores travel with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from gymnasium import spaces
from torch import Tensor, nn
from tqdm import tqdm

from worldsim.metrics import macro_f1, r_squared
from worldsim.world import has_bf16

FADE = 12  # frames that a change of scene may take to show


@dataclass
class ProbeConfig:
    """What the probe reads, and how long it learns."""

    numbers: tuple[str, ...] = ("speed", "offset", "heading", "on_road", "curvature")
    """Names of `state.*` columns to read; those a data set lacks are left out."""
    attributes: tuple[str, ...] = ("biome", "time", "weather")
    """Attributes of the scene to read; those a data set lacks are left out."""
    frames: int = 24000
    """Real frames to learn from, at most."""
    train_steps: int = 900
    batch_size: int = 64
    """Pairs of frames in a batch."""
    seed: int = 0

    def __post_init__(self) -> None:
        self.numbers, self.attributes = tuple(self.numbers), tuple(self.attributes)


@dataclass(frozen=True)
class Reading:
    """What the probe sees in frames `1..t-1` of videos of `t` frames.

    Attributes:
        numbers: `(b, t - 1)` each, in the units of the recording.
        classes: `(b, t - 1)` integers each, into `Probe.classes`.
    """

    numbers: dict[str, np.ndarray]
    classes: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Real frames with what is true of them.

    Attributes:
        frames: `(n, h, w, 3)` uint8.
        pairs: `(m, 2)`, indices of a frame and the one after it.
        numbers: `(m,)` each, at the second frame; `action.i` is the action between the two.
        classes: `(m,)` integers each, -1 where not known.
        names: The values that the integers stand for.
    """

    frames: Tensor
    pairs: Tensor
    numbers: dict[str, np.ndarray]
    classes: dict[str, np.ndarray]
    names: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.pairs)


def collect(dataset, episodes: Sequence[int], cfg: ProbeConfig) -> Labelled:
    """Gather labelled pairs of frames from some episodes of a data set."""
    lengths = dataset.lengths
    share = min(1.0, cfg.frames / max(1, sum(lengths[i] + 1 for i in episodes)))
    rng = np.random.default_rng(cfg.seed)
    keys = [name for name in cfg.numbers if name in dataset.state_keys]
    frames, pairs, count = [], [], 0
    numbers: dict[str, list] = {}
    values: dict[str, list] = {}
    scenes = {name: scene_values(dataset, episodes, name) for name in cfg.attributes}
    for index in episodes:
        episode = dataset[index]
        t = len(episode)
        take = max(1, round(share * t))
        first = int(rng.integers(t - take + 1))
        part = slice(first, first + take)  # transitions; their second frames are one later
        frames.append(torch.from_numpy(episode.frames[first : first + take + 1]))
        pairs.append(count + torch.arange(take)[:, None] + torch.arange(2))
        count += take + 1
        for key in keys:
            numbers.setdefault(key, []).append(episode.state[key][1:][part])
        if isinstance(dataset.info.action_space, spaces.Discrete):
            actions = episode.actions[part].argmax(1).astype(str).astype(object)
            values.setdefault("action", []).append(
                np.where(episode.action_known[part], actions, "")
            )
        else:
            for i in range(episode.actions.shape[1]):
                action = np.where(episode.action_known[part], episode.actions[part, i], np.nan)
                numbers.setdefault(f"action.{i}", []).append(action)
        for name, columns in scenes.items():
            values.setdefault(name, []).append(columns[index][1:][part])
    labels = {name: np.concatenate(parts) for name, parts in values.items()}
    names = {name: tuple(sorted(set(column) - {""})) for name, column in labels.items()}
    names = {name: known for name, known in names.items() if len(known) > 1}
    classes = {name: _indices(labels[name], known) for name, known in names.items()}
    numbers = {name: np.concatenate(parts).astype(np.float32) for name, parts in numbers.items()}
    return Labelled(torch.cat(frames), torch.cat(pairs), numbers, classes, names)


def scene_values(dataset, episodes: Sequence[int], name: str) -> dict[int, np.ndarray]:
    """Return an attribute of the scene at each frame, `(t + 1,)` strings, "" where not known.

    `episode.scene` holds names at reset, `state[name]` a number per frame where the attribute can
    change: what the numbers mean is learned from the first frames. Frames just after a change, when
    the new look is still coming, count as unknown.
    """
    outlines = {i: dataset.outline(i) for i in episodes}
    numbered = name in dataset.state_keys
    meaning = {
        int(e.state[name][0]): e.scene[name]
        for e in outlines.values()
        if numbered and isinstance(e.scene.get(name), str)
    }
    columns = {}
    for i, episode in outlines.items():
        value = episode.scene.get(name, "")
        column = np.full(len(episode) + 1, value if isinstance(value, str) else "", object)
        if numbered:
            number = episode.state[name].astype(int)
            column = np.array([meaning.get(n, "") for n in number], object)
            for change in np.flatnonzero(np.diff(number)):
                column[change + 1 : change + 1 + FADE] = ""
        columns[i] = column
    return columns


def _indices(column: np.ndarray, known: tuple[str, ...]) -> np.ndarray:
    place = {value: i for i, value in enumerate(known)}
    return np.array([place.get(value, -1) for value in column])


class Probe(nn.Module):
    """Convolutional reader of pairs of frames.

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
        layers, width = [nn.PixelUnshuffle(2)], 24
        for out, stride in ((32, 1), (64, 2), (96, 2), (128, 2)):
            layers += [nn.Conv2d(width, out, 3, stride, 1), nn.GroupNorm(8, out), nn.ReLU()]
            width = out
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.hidden = nn.Linear(16 * width, 256)
        self.sizes = [len(numbers)] + [len(known) for known in classes.values()]
        self.head = nn.Linear(256, sum(self.sizes))

    def forward(self, pairs: Tensor) -> Tensor:
        """Map pairs `(m, 2, h, w, 3)` uint8 to `(m, outputs)`: numbers, then class logits."""
        x = rearrange(pairs, "m two h w c -> m (two c) h w")
        x = x.float().contiguous(memory_format=torch.channels_last) / 127.5 - 1
        fast = has_bf16(torch.device("cpu"))  # 1.5 times as fast; the probe lives on the CPU
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            x = self.hidden(F.dropout(self.trunk(x), 0.1, self.training))
            return self.head(F.silu(x)).float()

    def within(self, name: str, values: np.ndarray) -> np.ndarray:
        """Clip the true values of a number to what counts."""
        return np.clip(values, *self.limits.get(name, (-np.inf, np.inf)))

    @torch.inference_mode()
    def read(self, frames: np.ndarray) -> Reading:
        """Read videos `(b, t, h, w, 3)` uint8 of at least two frames."""
        b, t = frames.shape[:2]
        videos = torch.from_numpy(np.ascontiguousarray(frames))
        parts = []
        for video in videos:
            pairs = torch.stack([video[:-1], video[1:]], 1)
            parts += [self(part) for part in pairs.split(256)]
        numbers, *logits = torch.cat(parts).unflatten(0, (b, t - 1)).split(self.sizes, -1)
        scale = zip(self.numbers.items(), numbers.unbind(-1), strict=True)
        return Reading(
            {n: self.within(n, (x * std + mean).numpy()) for (n, (mean, std)), x in scale},
            {n: x.argmax(-1).numpy() for n, x in zip(self.classes, logits, strict=True)},
        )


def train_probe(train: Labelled, test: Labelled, cfg: ProbeConfig, progress: bool = True) -> Probe:
    """Train a probe on some real frames and score it on others (`probe.scores`)."""
    torch.manual_seed(cfg.seed)
    limits = {k: _limits(v) for k, v in train.numbers.items() if not k.startswith("action.")}
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
        outputs = probe(train.frames[train.pairs[rows]])
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


def score_probe(probe: Probe, test: Labelled, through=None) -> dict[str, float]:
    """Score a probe on labelled frames.

    Args:
        probe: Trained.
        test: Frames that it has not seen.
        through: Function on `(n, h, w, 3)` uint8 tensors that the frames pass first; a tokenizer's
            round trip, to see what that costs.

    Returns:
        R2 of each number (for `on_road` also the accuracy at 0.5), accuracy of each attribute,
        macro F1 of a discrete action.
    """
    frames = test.frames if through is None else through(test.frames)
    with torch.inference_mode():
        outputs = torch.cat([probe(frames[rows]) for rows in test.pairs.split(256)])
    told, *logits = outputs.split(probe.sizes, -1)
    scores = {}
    for (name, (mean, std)), column in zip(probe.numbers.items(), told.unbind(-1), strict=True):
        real = probe.within(name, test.numbers[name])
        read = probe.within(name, column.numpy() * std + mean)
        seen = ~np.isnan(real)
        scores[f"{name}_r2"] = r_squared(read[seen], real[seen])
        if name == "on_road":
            scores["on_road_accuracy"] = float(((read > 0.5) == (real > 0.5)).mean())
    for name, one in zip(probe.classes, logits, strict=True):
        if name not in test.classes:
            continue
        order = [
            probe.classes[name].index(v) if v in probe.classes[name] else -2
            for v in test.names[name]
        ]
        real = np.array([*order, -1])[test.classes[name]]
        seen, read = real != -1, one.argmax(-1).numpy()
        hit = read[seen] == real[seen]
        scores[f"{name}_accuracy"] = float(hit.mean()) if seen.any() else float("nan")
        if name == "action":
            scores["action_f1"] = macro_f1(read[seen], real[seen])
    return scores


def probe_for(
    dataset, cfg: ProbeConfig, others=None, progress: bool = True
) -> tuple[Probe, Labelled]:
    """Train a probe and return it with the held-out frames it was scored on.

    Args:
        dataset: Its episodes are the held-out ones; without `others` only every second of them,
            and the probe learns from the rest.
        cfg: What to read.
        others: Data set to learn from.
        progress: Whether to show a bar.

    Raises:
        ValueError: If there are too few episodes.
    """
    every = list(range(len(dataset)))
    if others is None and len(every) < 2:
        raise ValueError(
            f"a probe needs at least 2 episodes, one to learn from and one to be tested on, got "
            f"{len(every)}; record more or set `probe_data`"
        )
    learn = (
        collect(others, range(len(others)), cfg) if others else collect(dataset, every[::2], cfg)
    )
    check = collect(dataset, every if others else every[1::2], cfg)
    return train_probe(learn, check, cfg, progress), check
