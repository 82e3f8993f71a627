"""What the dynamics model is trained on: shortcut forcing over two ways of looking at time.

A batch is *causal* or *full*. In causal batches every frame carries its own signal level and step
size; in a share of the rows the past is nearly clean, which is what a rollout's committed frames
are. In full batches a random subset of frames is known and all others share one level. In rows
drawn as *isolated* each frame sees only itself: a frame from nothing. A quarter of the rows learn
steps larger than the finest from two half steps of the EMA teacher.

References:
    Diffusion forcing, Chen et al. 2024, https://arxiv.org/abs/2407.01392, algorithm 1
    Shortcut forcing, Hafner et al. 2025, https://arxiv.org/abs/2509.24527, eq. 7
    Two-hot regression in symlog space, Hafner et al. 2023, https://arxiv.org/abs/2301.04104, eq. 9
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.dynamics import Dynamics, Frames, Prediction, Prompts, previous_frames, refeed
from worldsim.flow import noise_latents, shortcut_target, step_size

CLEAN = 0.9  # frames at this signal level and above count as seen, not as imagined


@dataclass(frozen=True)
class Clips:
    """A batch of clips, cut from recordings.

    Attributes:
        latents: `(b, t, c, h, w)`, clean.
        actions: `(b, t, a)`, scaled; `actions[:, i]` leads to frame `i`.
        known: `(b, t)` bool, False at the first frame and where there is no action label.
        rewards: `(b, t)`, of the same transition.
        terminated: `(b, t)` bool, of the same transition.
        rewarded: `(b, t)` bool, False where reward and termination are not known.
        prompts: The clips' captions, or None.
    """

    latents: Tensor
    actions: Tensor
    known: Tensor
    rewards: Tensor
    terminated: Tensor
    rewarded: Tensor
    prompts: Prompts | None


@dataclass
class ObjectiveConfig:
    """Mix of the training batches and weights of the losses."""

    causal: float = 0.75
    """Share of causal batches; the others see the whole clip."""
    clean_past: float = 0.5
    """Share of causal rows whose frames are nearly clean, but for the frames to be predicted."""
    isolated: float = 0.2
    """Share of rows in which every frame sees only itself."""
    bootstrap: float = 0.25
    """Share of rows that learn large steps from the teacher's half steps."""
    bootstrap_from: float = 0.15
    """Share of the training after which they do."""
    reward_weight: float = 0.02
    termination_weight: float = 0.1
    policy_weight: float = 0.02


@dataclass(frozen=True)
class Corruption:
    """How a batch is noised: signal level, step size, and who takes bootstrapped steps."""

    tau: Tensor
    level: Tensor
    move: Tensor
    isolated: Tensor


def draw_corruption(
    cfg: ObjectiveConfig, shape: tuple[int, int], finest: int, causal: bool, progress: float, g
) -> Corruption:
    """Draw signal levels and step sizes for `(b, t)` frames.

    Args:
        cfg: Shares of each kind of row.
        shape: `(b, t)`.
        finest: Level of the finest step.
        causal: Kind of batch.
        progress: Share of the training that is over.
        g: `torch.Generator`.
    """
    b, t = shape
    tau = torch.rand(b, t, generator=g)
    isolated = torch.rand(b, generator=g) < cfg.isolated
    if causal:
        clean = (torch.rand(b, 1, generator=g) < cfg.clean_past) & (
            torch.rand(b, t, generator=g) < 0.5
        )
    else:
        clean = _known_frames(b, t, g)
        tau = torch.where(isolated[:, None], tau, tau[:, :1])
    clean &= ~isolated[:, None]
    level = torch.full((b, t), finest)
    rows = torch.arange(b) < (round(cfg.bootstrap * b) if progress >= cfg.bootstrap_from else 0)
    move = rows[:, None] & ~clean
    coarse = torch.randint(finest, (b, t), generator=g)
    coarse = coarse if causal else torch.where(isolated[:, None], coarse, coarse[:, :1])
    level = torch.where(move, coarse, level)
    d = step_size(level)
    tau = torch.where(move, (tau / d).floor() * d, tau)
    tau = torch.where(clean, CLEAN + (1 - CLEAN) * torch.rand(b, t, generator=g), tau)
    return Corruption(tau, level, move, isolated)


def dynamics_loss(
    model: Dynamics,
    teacher: Dynamics,
    clips: Clips,
    cfg: ObjectiveConfig,
    *,
    causal: bool,
    progress: float,
    g: torch.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """Compute the loss of one batch.

    Args:
        model: In training.
        teacher: Its moving average, for bootstrapped targets.
        clips: The batch.
        cfg: Mix and weights.
        causal: Which way to look at time.
        progress: Share of the training that is over, in [0, 1].
        g: Source of noise, on the CPU.

    Returns:
        The scalar loss, and metrics by name.
    """
    x = clips.latents.float()
    c = draw_corruption(cfg, x.shape[:2], model_config(model).finest, causal, progress, g)
    c = Corruption(*(part.to(x.device) for part in (c.tau, c.level, c.move, c.isolated)))
    noise = torch.randn(x.shape, generator=g).to(x.device)
    noised = noise_latents(x, noise, c.tau)
    previous, previous_tau = previous_frames(noised, c.tau, c.isolated)
    known = clips.known & ~c.isolated[:, None]
    frames = Frames(noised, c.tau, c.level, previous, previous_tau, clips.actions, known)
    target = x
    if c.move.any():
        target = _with_bootstrap(teacher, frames, clips, c, causal)
    prediction = model(frames, clips.prompts, causal=causal, isolated=c.isolated, agent=causal)
    error = (prediction.latents - target).square().mean((2, 3, 4))  # (b, t)
    loss = ((0.9 * c.tau + 0.1) * error).mean()
    metrics = {"x_loss": loss.item()}
    imagined = (c.tau < 0.5) & ~c.isolated[:, None] & ~c.move
    if causal and imagined.any():
        metrics["x_error"] = error[imagined].mean().item()
    if causal:
        extra, more = _agent_loss(model_config(model), prediction, clips, c, cfg)
        loss, metrics = loss + extra, metrics | more
    return loss, metrics


def model_config(model):
    """Return the architecture of a model, also when it is compiled or distributed."""
    return getattr(model, "module", model).cfg


def two_hot(x: Tensor, low: float, high: float, bins: int) -> Tensor:
    """Spread each number of `x` over its two nearest of `bins` grid points: `(..., bins)`."""
    place = ((x.clamp(low, high) - low) / (high - low) * (bins - 1)).clamp(0, bins - 1 - 1e-4)
    below = place.floor().long()
    share = (place - below)[..., None]
    return F.one_hot(below, bins) * (1 - share) + F.one_hot(below + 1, bins) * share


def _known_frames(b: int, t: int, g: torch.Generator) -> Tensor:
    """Draw which frames of a full clip are given: none, a start, an end, both ends, or any."""
    kind = torch.randint(5, (b, 1), generator=g)
    place = torch.arange(t)[None]
    edges = torch.randint(1, max(2, t // 2), (b, 2), generator=g)
    start, end = place < edges[:, :1], place >= t - edges[:, 1:]
    anywhere = torch.rand(b, t, generator=g) < torch.rand(b, 1, generator=g)
    known = torch.where(kind == 1, start, torch.zeros(b, t, dtype=torch.bool))
    known = torch.where(kind == 2, end, known)
    known = torch.where(kind == 3, start | end, known)
    return torch.where(kind == 4, anywhere, known)


def _with_bootstrap(
    teacher: Dynamics, frames: Frames, clips: Clips, c: Corruption, causal: bool
) -> Tensor:
    """Replace the targets of frames that take large steps; only their rows pass the teacher."""
    rows = c.move.any(1)
    part = Frames(*(getattr(frames, name)[rows] for name in Frames.__dataclass_fields__))
    prompts, isolated = clips.prompts, c.isolated[rows]
    if prompts is not None:
        prompts = Prompts(prompts.words[rows], prompts.owner[rows], prompts.of_frame[rows])

    def predict(x: Tensor, tau: Tensor, level: Tensor) -> Tensor:
        fed = refeed(part, x, tau, level, isolated)
        return teacher(fed, prompts, causal=causal, isolated=isolated, agent=False).latents

    target = clips.latents.float().clone()
    move = c.move[rows]
    shortcut = shortcut_target(predict, part.x, part.tau, part.level, move)
    target[rows] = torch.where(move[..., None, None, None], shortcut, target[rows])
    return target


def _agent_loss(
    model: "object", prediction: Prediction, clips: Clips, c: Corruption, cfg: ObjectiveConfig
) -> tuple[Tensor, dict[str, float]]:
    """Score reward, termination and next action at frames the model has seen, not imagined."""
    seen = (c.tau >= CLEAN) & ~c.isolated[:, None]
    paid = seen & clips.rewarded
    acted = seen[:, :-1] & clips.known[:, 1:]
    symlog = clips.rewards.sign() * clips.rewards.abs().log1p()
    reward = -(two_hot(symlog, -6, 6, model.bins) * prediction.reward.log_softmax(-1)).sum(-1)
    ended = F.binary_cross_entropy_with_logits(
        prediction.terminated, clips.terminated.float(), reduction="none"
    )
    wanted = two_hot(clips.actions[:, 1:], -1, 1, model.action_bins)
    policy = -(wanted * prediction.policy[:, :-1].log_softmax(-1)).sum(-1).mean(-1)
    parts = {
        "reward_loss": _mean(reward, paid),
        "termination_loss": _mean(ended, paid),
        "policy_loss": _mean(policy, acted),
    }
    weights = (cfg.reward_weight, cfg.termination_weight, cfg.policy_weight)
    total = sum(w * part for w, part in zip(weights, parts.values(), strict=True))
    return total, {name: part.item() for name, part in parts.items()}


def _mean(x: Tensor, where: Tensor) -> Tensor:
    return (x * where).sum() / where.sum().clamp(min=1)
