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

A single step from noise to the frame has the recording itself as its target. First it learns what
is expected, which is quick, and blurred wherever a model is not sure. In the last part it learns to
draw: each frame has two drafts, by other noise, and is scored by how far they are from what came,
less half of how far they are from each other (`losses.energy_score`). On average that is least
where what is drawn is as varied as what may come. Steps between that one and the finest are learned
from two half steps of the teacher.

References:
    Diffusion forcing, Chen et al. 2024, https://arxiv.org/abs/2407.01392, algorithm 1
    Shortcut forcing, Hafner et al. 2025, https://arxiv.org/abs/2509.24527, eq. 7
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from worldsim.clips import Clips
from worldsim.corruption import (
    VARIETY,
    Corruption,
    ObjectiveConfig,
    draw_corruption,
    off_balance,
)
from worldsim.dynamics import Dynamics
from worldsim.flow import draw_noise, noise_latents, per_frame, shortcut_target
from worldsim.frames import Frames, Prompts, previous_frames, rows_of
from worldsim.imagining import imagine_past
from worldsim.losses import agent_loss, latent_loss
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
    single, say = per_frame(c.single), (~c.plain)[:, None, None, None, None]
    draft = torch.where(single, say * noise, noise_latents(x, noise, c.tau))
    local, goes_on = progress < cfg.local_until, causal and x.shape[1] > 1
    mode = Mode(config_of(model).recent, causal, goes_on and not local, local)
    told = _as_told(teacher, clips, c, VARIETY * say * noise, fog, mode, g)
    past = noise_latents(told.latents, fog, c.past)
    frames = feed(told, c, mode, draft, past, finest)
    prompts, target = repeated(clips.prompts, mode.copies), x
    if c.move.any():
        target = _with_bootstrap(teacher, frames, prompts, x, c, mode)
    if goes_on and progress >= cfg.drawn_from and config_of(model).chance:
        mode = replace(mode, draws=2)
        other = torch.where(single, say * draw_noise(x, g), draft)
        frames = frames.then(replace(frames.during(slice(-x.shape[1], None)), x=other))
        prompts = repeated(clips.prompts, mode.copies)
    said = model(frames, prompts, **mode.flags(), isolated=c.isolated, agent=mode.drafts)
    missed = said.latents.unflatten(1, (mode.draws, -1)) - target[:, None]
    loss, metrics = latent_loss(missed, x, c, cfg, causal, eye)
    if not mode.drafts:
        return loss, metrics
    extra, more = agent_loss(config_of(model), said, clips, c, cfg)
    return loss + extra, metrics | more


@dataclass(frozen=True)
class Mode:
    """How a batch looks at time.

    Attributes:
        recent: Frames before the current one that the convolutions see.
        causal: Backwards only, or both ways.
        drafts: Whether the past stands beside its drafts.
        local: Whether the transformer is left out.
        draws: How often each frame is drawn.
    """

    recent: int
    causal: bool
    drafts: bool
    local: bool = False
    draws: int = 1

    @property
    def copies(self) -> int:
        """How often each frame of a clip stands there."""
        return self.drafts + self.draws

    def flags(self) -> dict[str, bool | int]:
        """Return what the model is told of it."""
        drafts = self.draws if self.drafts else 0
        return {"causal": self.causal, "drafts": drafts, "local": self.local}

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


def repeated(prompts: Prompts | None, copies: int) -> Prompts | None:
    """Give each copy of a clip's frames the prompts of those."""
    if prompts is None:
        return None
    return replace(prompts, of_frame=prompts.of_frame.repeat(1, copies))


def config_of(model):
    """Return the architecture of a model, also when it is compiled or distributed."""
    return getattr(model, "module", model).cfg


def _as_told(
    teacher: Dynamics, clips: Clips, c: Corruption, noise: Tensor, fog: Tensor, mode: Mode, g
) -> Clips:
    """Return the clips as their drafts see them: off balance, or imagined by the teacher."""
    latest = max(1, min(clips.latents.shape[1] // 2, teacher.cfg.context))
    start = int(torch.randint(1, latest + 1, (), generator=together(g)))
    if not mode.causal:
        return clips
    told = replace(clips, latents=off_balance(clips.latents.float(), c.sharp, c.gain))
    if not c.own.any():
        return told
    with torch.autocast(noise.device.type, enabled=False):  # the teacher has a dtype of its own
        return imagine_past(teacher, told, c, noise, fog, start, mode.local)


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
