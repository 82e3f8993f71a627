"""What a world imagines from held-out clips, and how true that is.

All clips run as rows of one `Rollout`, so judging 64 clips costs little more than judging one. Row
`i` is seeded with `seed + i`: the same world gives the same figures again.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.frames import led_by
from worldsim.measuring.heldout import HeldOut
from worldsim.measuring.metrics import (
    changed_fidelity,
    check_horizons,
    copy_last,
    fidelity,
    squared_error,
)
from worldsim.rollout import Rollout
from worldsim.world import World


@dataclass(frozen=True)
class Dream:
    """What a world imagined in `b` rows over `k` frames.

    Attributes:
        frames: `(b, k, h, w, 3)` uint8.
        rewards: `(b, k)`.
        terminated: `(b, k)`, probability.
        latents: `(b, k, c, h / s, w / s)`, what the frames were decoded from.
    """

    frames: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    latents: Tensor


@torch.inference_mode()
def dream(
    world: World,
    given: np.ndarray | None,
    actions: np.ndarray | None,
    horizon: int,
    *,
    known: np.ndarray | None = None,
    autopilot: bool = False,
    prompts: list[str | None] | None = None,
    later_prompts: list[str | None] | None = None,
    sampler_steps: int | None = None,
    seed: int = 0,
    guidance: float | None = None,
    variety: float | None = None,
) -> Dream:
    """Go on from given frames, or from nothing, all rows at once.

    Args:
        world: The world.
        given: `(b, t, h, w, 3)` uint8; None imagines the first frame from each row's prompt.
        actions: `(b, t - 1 + horizon, a)` flattened, not scaled; under `autopilot` only the first
            `t - 1` are read.
        horizon: Frames to imagine.
        known: `(b, t - 1 + horizon)` bool, which of the actions are labels; None is all, in a
            world that has learned from labels.
        autopilot: Let the world's own policy act.
        prompts: One per row; None for no prompt.
        later_prompts: In force from the first imagined frame on, after the given frames were read
            under `prompts`.
        sampler_steps: Steps per frame; None is the world's default.
        seed: Row `i` draws its noise with `seed + i`.
        guidance: Strength of a new prompt; None is the world's own.
        variety: How much chance has a say, from 0 to 1; None is the world's own.
    """
    b, t = (len(prompts), 1) if given is None else given.shape[:2]
    size = world.cfg.frame_size if given is None else given.shape[2:4]
    rows = list(range(b))
    rollout = Rollout(
        world, b, sampler_steps=sampler_steps, guidance=guidance, variety=variety, frame_size=size
    )
    rollout.seed(rows, [seed + i for i in rows])
    if prompts:
        rollout.set_prompts(rows, list(prompts))
    own = autopilot or actions is None
    if actions is None:
        actions = np.zeros((b, t - 1, world.dynamics.cfg.action_dim), np.float32)
    made, shown, rewards, ended = [], [], [], []
    if given is None:
        made.append(rollout.begin(rows).clone())
        shown.append(rollout.frames().cpu())
    else:
        read_given(rollout, given, actions, known)
    scaled = torch.from_numpy(world.scale_actions(actions)).to(world.device)
    labelled = None if known is None else torch.from_numpy(known)
    if later_prompts:
        rollout.set_prompts(rows, list(later_prompts))
    for i in range(horizon - len(made)):
        action = world.played(rollout.policy) if own else scaled[:, t - 1 + i]
        told = None if own or labelled is None else labelled[:, t - 1 + i]
        now = rollout.step(action, told)
        made.append(now.latents)
        shown.append(rollout.frames().cpu())
        rewards.append(now.reward)
        ended.append(now.terminated)
    frames = torch.stack(shown, 1).numpy()
    return Dream(frames, _told(rewards, b), _told(ended, b), torch.stack(made, 1))


def _told(parts: list[Tensor], b: int) -> np.ndarray:
    """Stack one number per row and frame as `(b, k)`; `k` is 0 for a first frame alone."""
    return torch.stack(parts, 1).float().cpu().numpy() if parts else np.zeros((b, 0), np.float32)


def read_given(
    rollout: Rollout, given: np.ndarray, actions: np.ndarray, known: np.ndarray | None = None
) -> None:
    """Let a rollout begin with given frames.

    Args:
        rollout: Of `b` rows.
        given: `(b, t, h, w, 3)` uint8.
        actions: `(b, t - 1 or more, a)`, flattened, not scaled.
        known: Likewise, which of them are labels; None is all, in a world that knows labels.
    """
    (b, t), world = given.shape[:2], rollout.world
    scaled = torch.from_numpy(world.scale_actions(actions[:, : t - 1]))
    told = np.full((b, t - 1), world.cfg.labelled) if known is None else known[:, : t - 1]
    told = F.pad(torch.from_numpy(told), (1, 0))
    rollout.prefill(range(b), world.encode(given), led_by(scaled), told)


class WorldPredict:
    """A world as a `Predict`: frames and actions in, frames out.

    Args:
        world: The world.
        sampler_steps: Steps per frame; None is the world's default.
        seed: Of the noise.
        variety: How much chance has a say, from 0 to 1; None is the world's own.
    """

    def __init__(
        self,
        world: World,
        sampler_steps: int | None = None,
        seed: int = 0,
        variety: float | None = None,
    ) -> None:
        self.world = world
        self.settings = {"sampler_steps": sampler_steps, "seed": seed, "variety": variety}

    def __call__(
        self, frames: np.ndarray, actions: np.ndarray, known: np.ndarray | None = None
    ) -> np.ndarray:
        """Predict `(b, k, h, w, 3)` from `(b, t, h, w, 3)` and `(b, t - 1 + k, a)`.

        `known` `(b, t - 1 + k)` says which of the actions are labels; None is all.
        """
        horizon = actions.shape[1] - frames.shape[1] + 1
        return dream(self.world, frames, actions, horizon, known=known, **self.settings).frames


def rollout_quality(
    world: World,
    clips: HeldOut,
    horizons: tuple[int, ...] | None = None,
    steps: int | None = None,
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Measure how much better than copy-the-last-frame a world predicts under the true actions.

    What is judged is the frame that it expects (`variety=0`): one that is drawn is as likely, and
    further off.

    The error is pooled over the clips before PSNR is taken. "Moving" is the half of the clips
    whose copy-last error at that horizon is above the median.

    Args:
        world: The world.
        clips: Held-out clips, from `cut_clips`; their given frames are the context.
        horizons: Which imagined frames to judge, 1 being the first; None is those of 1, 4 and 16
            that the clips hold.
        steps: Sampler steps per frame; None is the world's default.
        seed: Of the noise.

    Returns:
        `psnr_h`, `gain_h`, `moving_gain_h` and `changed_gain_h` (on the pixels that changed by
        more than 8 levels) in dB for each horizon `h`, and `score`: the mean of all gains, which
        chooses checkpoints.
    """
    horizons = horizons or tuple(h for h in (1, 4, 16) if h <= clips.horizon)
    check_horizons(horizons, clips.horizon)
    clips = clips.first(max(horizons))
    predict = WorldPredict(world, steps, seed, variety=0.0)
    made = predict(clips.given, clips.actions, clips.known)
    error = squared_error(made, clips.future)
    copy = squared_error(copy_last(clips.given, clips.actions), clips.future)
    table = fidelity(error, copy, horizons)
    changed = changed_fidelity(made, clips.future, clips.given[:, -1], horizons)
    scores = {}
    for horizon, row in table.items():
        row |= changed[horizon]
        scores |= {
            f"{name}_{horizon}": row[name]
            for name in ("psnr", "gain", "moving_gain", "changed_gain")
            if name in row
        }
    gains = [value for name, value in scores.items() if "gain" in name]
    return scores | {"score": float(np.mean(gains)) if gains else 0.0}


def film_strip(rows: list[np.ndarray], every: int = 1) -> np.ndarray:
    """Lay videos `(t, h, w, 3)` out as rows of at most 12 frames, in one picture `(H, W, 3)`."""
    rows, gap = [video[::every][:12] for video in rows], 2
    h, w = rows[0].shape[1:3]
    columns = max(map(len, rows))
    sheet = np.full((len(rows) * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, video in enumerate(rows):
        for j, frame in enumerate(video):
            sheet[i * (h + gap) : i * (h + gap) + h, j * (w + gap) : j * (w + gap) + w] = frame
    return sheet
