"""What the dynamics model is trained on: shortcut forcing over two ways of looking at time.

A batch is *causal* or *full*. A causal batch holds every clip twice: once as the past, nearly
clean, as a rollout commits its frames, and once as drafts, each with its own signal level and step
size, which see the past alone. So every draft is denoised under exactly the conditions of a
rollout. In a share of the rows the past is noisy, in another it is what the EMA teacher imagined.
In full batches a random subset of frames is known and all others share one level. In rows drawn as
*isolated* each frame sees only itself: a frame from nothing. So does it in batches of clips of one
frame, which learn what a world begins with from as many scenes as they have frames. In the first
part of the training the transformer is left out, at a fifth of the cost: the convolutions learn
how things move, and nothing else; then that stays as it is.

A single step from noise to the frame has the recording itself as its target: what comes next in a
simulator hardly depends on chance, and where it does the mean is nearer to the truth than a sample.
Steps between that one and the finest are learned from two half steps of the teacher.

References:
    Diffusion forcing, Chen et al. 2024, https://arxiv.org/abs/2407.01392, algorithm 1
    Shortcut forcing, Hafner et al. 2025, https://arxiv.org/abs/2509.24527, eq. 7
    Symexp two-hot regression, Hafner et al. 2023, https://arxiv.org/abs/2301.04104
"""

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.architecture import DynamicsConfig
from worldsim.clips import Clips
from worldsim.corruption import (
    CLEAN,
    Corruption,
    ObjectiveConfig,
    draw_corruption,
    off_balance,
)
from worldsim.dynamics import Dynamics
from worldsim.flow import draw_noise, noise_latents, shortcut_target
from worldsim.frames import (
    Frames,
    Prediction,
    Prompts,
    action_grid,
    previous_frames,
    reward_grid,
    rows_of,
)
from worldsim.imagining import imagine_past
from worldsim.processes import together


def dynamics_loss(
    model: Dynamics,
    teacher: Dynamics,
    clips: Clips,
    cfg: ObjectiveConfig,
    *,
    causal: bool,
    progress: float,
    g: torch.Generator,
    eye: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Compute the loss of one batch.

    Args:
        model: In training.
        teacher: Its moving average in the dtype it will be played in, for bootstrapped targets and
            imagined pasts.
        clips: The batch.
        cfg: Mix and weights.
        causal: Which way to look at time.
        progress: Share of the training that is over, in [0, 1].
        g: Source of noise, on the CPU.
        eye: `(c, c)`, a Cholesky factor of `Tokenizer.sensitivity`: errors count by what they do to
            pixels; None lets all channels count alike.

    Returns:
        The scalar loss, and metrics by name.
    """
    x, finest = clips.latents.float(), config_of(model).finest
    c = draw_corruption(cfg, x.shape[:2], finest, causal, progress, g)
    c = Corruption(*(getattr(c, f.name).to(x.device) for f in fields(c)))
    noise, fog = draw_noise(x, g), draw_noise(x, g)
    draft = noise_latents(x, noise, c.tau)
    local = progress < cfg.local_until
    drafts = causal and not local and x.shape[1] > 1
    mode = Mode(config_of(model).recent, causal, drafts, local)
    told = replace(clips, latents=off_balance(x, c.sharp, c.gain)) if causal else clips
    latest = max(1, min(x.shape[1] // 2, config_of(model).context))
    start = int(torch.randint(1, latest + 1, (), generator=together(g)))
    if c.own.any():
        with torch.autocast(x.device.type, enabled=False):  # the teacher has a dtype of its own
            told = imagine_past(teacher, told, c, noise, fog, start, local)
    past = noise_latents(told.latents, fog, c.past)
    frames = feed(told, c, mode, draft, past, finest)
    prompts = twice(clips.prompts) if mode.drafts else clips.prompts
    target = x
    if c.move.any():
        target = _with_bootstrap(teacher, frames, prompts, x, c, mode)
    said = model(frames, prompts, **mode.flags(), isolated=c.isolated, agent=mode.drafts)
    loss, metrics = _latent_loss(said.latents - target, x, c, cfg, causal, eye)
    if not mode.drafts:
        return loss, metrics
    extra, more = _agent_loss(config_of(model), said, clips, c, cfg)
    return loss + extra, metrics | more


def motion_weight(latents: Tensor, share: float) -> Tensor:
    """Weigh cells by whether they change, so that a small ball counts as much as a large wall.

    Args:
        latents: `(b, t, c, h, w)`, clean; what differs from the frame before has changed.
        share: Of the weight that goes by change; the rest is spread evenly.

    Returns:
        `(b, t, h, w)` of mean 1.
    """
    change = latents.diff(dim=1).square().mean(2)
    change = torch.cat([change[:, :1], change], 1)
    moving = change / (change + change.mean()).clamp(min=1e-9)  # near 0 or 1, whatever the scale
    return 1 - share + share * moving / moving.mean().clamp(min=1e-9)


@dataclass(frozen=True)
class Mode:
    """How a batch looks at time.

    Attributes:
        recent: Frames before the current one that the convolutions see.
        causal: Backwards only, or both ways.
        drafts: Whether the past stands beside its drafts.
        local: Whether the transformer is left out.
    """

    recent: int
    causal: bool
    drafts: bool
    local: bool = False

    def flags(self) -> dict[str, bool]:
        """Return what the model is told of it."""
        return {"causal": self.causal, "drafts": self.drafts, "local": self.local}

    @torch.no_grad()
    def predict(
        self, teacher: Dynamics, frames: Frames, prompts: Prompts | None, isolated: Tensor | None
    ) -> Tensor:
        """Return a teacher's clean latents."""
        with torch.autocast(frames.x.device.type, enabled=False):
            said = teacher(frames, prompts, **self.flags(), isolated=isolated, agent=False)
        return said.latents


def feed(
    clips: Clips, c: Corruption, mode: Mode, draft: Tensor, past: Tensor, finest: int
) -> Frames:
    """Tell the model of noised latents; a draft's previous frame is the one of the past."""
    known = clips.known & ~c.isolated[:, None]
    if not mode.causal:
        before = previous_frames(draft, c.tau, mode.recent, c.isolated)
        return Frames(draft, c.tau, c.level, *before, clips.actions, known)
    before = previous_frames(past, c.past, mode.recent, c.isolated)
    frames = Frames(draft, c.tau, c.level, *before, clips.actions, known)
    seen = replace(frames, x=past, tau=c.past, level=torch.full_like(c.level, finest))
    return seen.then(frames) if mode.drafts else frames


def twice(prompts: Prompts | None) -> Prompts | None:
    """Give the drafts of a clip the prompts of its frames."""
    if prompts is None:
        return None
    return replace(prompts, of_frame=torch.cat([prompts.of_frame] * 2, 1))


def config_of(model):
    """Return the architecture of a model, also when it is compiled or distributed."""
    return getattr(model, "module", model).cfg


def two_hot(x: Tensor, grid: Tensor) -> Tensor:
    """Spread each number of `x` over its two neighbours in a rising grid, `(..., bins)`.

    Their mean is the number itself, or what is nearest to it in the grid.
    """
    x, bins = x.contiguous(), len(grid)
    below = (torch.bucketize(x, grid, right=True) - 1).clamp(0, bins - 2)
    share = ((x - grid[below]) / (grid[below + 1] - grid[below])).clamp(0, 1)[..., None]
    return F.one_hot(below, bins) * (1 - share) + F.one_hot(below + 1, bins) * share


def _with_bootstrap(
    teacher: Dynamics,
    frames: Frames,
    prompts: Prompts | None,
    x: Tensor,
    c: Corruption,
    mode: Mode,
) -> Tensor:
    """Replace the targets of frames that take large steps; only their rows pass the teacher."""
    rows, t = c.move.any(1), x.shape[1]
    part, prompts, isolated = rows_of(frames, rows), rows_of(prompts, rows), c.isolated[rows]
    late = {name: getattr(part, name)[:, -t:] for name in ("x", "tau", "level")}

    def predict(*draft: Tensor) -> Tensor:
        now = dict(zip(late, draft, strict=True))
        fed = {name: torch.cat([getattr(part, name)[:, :-t], now[name]], 1) for name in now}
        fed = replace(part, **fed)
        if not mode.causal:
            before = previous_frames(now["x"], now["tau"], mode.recent, isolated)
            fed = replace(fed, previous=before[0], previous_tau=before[1])
        return mode.predict(teacher, fed, prompts, isolated)

    shortcut = shortcut_target(predict, *late.values(), c.move[rows])
    target = x.clone()
    target[rows] = torch.where(c.move[rows][..., None, None, None], shortcut, target[rows])
    return target


def _latent_loss(
    missed: Tensor,
    x: Tensor,
    c: Corruption,
    cfg: ObjectiveConfig,
    causal: bool,
    eye: Tensor | None,
) -> tuple[Tensor, dict[str, float]]:
    """Score by how much the clean latents `x` are missed, `missed` `(b, t, c, h, w)`."""
    if eye is not None:
        missed = torch.einsum("btchw,cd->btdhw", missed, eye)
    square = missed.square().mean(2)  # (b, t, h, w)
    error = square.mean((2, 3))  # (b, t)
    moves = cfg.motion > 0 and x.shape[1] > 1  # nothing does in a single frame
    weighted = (motion_weight(x, cfg.motion) * square).mean((2, 3)) if moves else error
    loss = _mean((0.5 * c.tau + 0.5) * weighted, c.imagined)
    metrics = {"x_loss": loss.item()}
    guessed = (c.tau < 0.25) & ~c.isolated[:, None] & ~c.move & (c.past >= CLEAN)
    if causal and guessed[:, 1:].any():
        metrics["x_error"] = _mean(error[:, 1:], guessed[:, 1:]).item()
    return loss, metrics


def _agent_loss(
    arch: DynamicsConfig, prediction: Prediction, clips: Clips, c: Corruption, cfg: ObjectiveConfig
) -> tuple[Tensor, dict[str, float]]:
    """Score reward, termination and next action: at the past's frames, seen, and at the drafts.

    A draft knows the past and its action; what it will look like and what it earns are one guess.
    """
    seen = ((c.past >= CLEAN) & ~c.isolated[:, None]).repeat(1, 2)  # (b, 2 t)
    rewards, ended, known = (
        part.repeat(1, 2) for part in (clips.rewards, clips.terminated.float(), clips.known)
    )
    followed = F.pad(clips.known[:, 1:], (0, 1)).repeat(1, 2)  # whether a next action is known
    wanted = F.pad(clips.actions[:, 1:], (0, 0, 0, 1)).repeat(1, 2, 1)
    earned = two_hot(rewards.float(), reward_grid(arch.bins, rewards.device))
    reward = _cross_entropy(prediction.reward, earned)
    ending = F.binary_cross_entropy_with_logits(prediction.terminated, ended, reduction="none")
    acted = two_hot(wanted.float(), action_grid(arch.action_bins, wanted.device))
    policy = _cross_entropy(prediction.policy, acted).mean(-1)
    parts = {
        "reward_loss": _mean(reward, seen & known),
        "termination_loss": _mean(ending, seen & known),
        "policy_loss": _mean(policy, seen & followed),
    }
    weights = (cfg.reward_weight, cfg.termination_weight, cfg.policy_weight)
    total = sum(w * part for w, part in zip(weights, parts.values(), strict=True))
    return total, {name: part.item() for name, part in parts.items()}


def _cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    return -(shares * logits.log_softmax(-1)).sum(-1)


def _mean(x: Tensor, where: Tensor) -> Tensor:
    return (x * where).sum() / where.sum().clamp(min=1)
