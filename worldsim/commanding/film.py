"""`worldsim generate`: a film of a world."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import worldsim  # its public names load what they need when they are used
from worldsim.limits import check_choice, check_least, check_shares, read_size

if TYPE_CHECKING:
    from worldsim.world import World


@dataclass
class GenerateConfig:
    """What to film."""

    task: str = "text"
    """text, image (goes on from a picture), extend, infill, loop, or edit."""
    world: str = "drive"
    """Shipped world, folder, or Hub id."""
    prompt: str | None = None
    """What to see; text begins with the recorded start that shows most of it."""
    nothing: bool = False
    """Whether a prompt begins from nothing: all of it is imagined, and rougher (text, loop)."""
    image: str | None = None
    """Picture to begin with (image)."""
    video: str | None = None
    """Film to start from (extend, infill, edit), read at the world's pace."""
    frames: int = 64
    """Length (text, image, loop)."""
    size: str | None = None
    """Width x height such as 96x64, which pictures and films are cut to; null takes the world's."""
    before: int = 0
    """Frames to imagine before the film (extend)."""
    after: int = 16
    """Frames to imagine after the film (extend)."""
    hide: str = ""
    """Frames to imagine anew, such as 16:32 (infill)."""
    strength: float = 0.8
    """How much may change, from 0 to 1 (edit)."""
    scale: int = 1
    """Pixels of the film on each side of one of the world's; 8 is good to look at."""
    expand: bool = False
    """Whether to put the prompt into the style of the captions that the world learned from."""
    sampler_steps: int | None = None
    """Denoising steps per frame; null takes the world's own, or 16 where frames are imagined all at
    once."""
    guidance: float | None = None
    """How strongly the prompt is followed; 1 is as learned, null the world's own."""
    variety: float | None = None
    """How much chance has a say in frames of a single step, from 0 to 1; null the world's own."""
    seed: int = 0
    """Same seed, same film."""
    device: str | None = None
    """Where the model runs, such as cuda; null chooses."""
    out: str = ""
    """An .mp4 or a .gif; out/generated.mp4 if empty, with a number where there is one."""

    def __post_init__(self) -> None:
        check_choice("task", self.task, TASKS)
        for name in TASKS[self.task][0]:
            if not getattr(self, name):
                raise ValueError(f"task={self.task} needs `{name}`, got nothing; add {name}=...")
        readers = {task: (*needs, *reads) for task, (needs, reads, _) in TASKS.items()}
        for name in dict.fromkeys(name for names in readers.values() for name in names):
            value, unread = getattr(self, name), name not in (*readers[self.task], "prompt")
            if unread and value != getattr(GenerateConfig, name):
                takers = [task for task, names in readers.items() if name in names]
                raise ValueError(
                    f"`{name}` is for task={' or '.join(takers)}, got {name}={value} "
                    f"with task={self.task}; leave it out, or set `task`"
                )
        if self.expand and not self.prompt:
            raise ValueError(
                "`expand` is for a `prompt`, got none; leave it out, or add prompt=..."
            )
        if self.out and Path(self.out).suffix not in (".mp4", ".gif"):
            raise ValueError(f"`out` must end in .mp4 or .gif, got {self.out!r}")
        check_least(self, frames=1, before=0, after=0, scale=1)
        check_shares(self, "strength")
        _ = self.frame_size, self.hidden  # refuses what cannot be read

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """`(h, w)` of `size`."""
        return None if self.size is None else read_size(self.size)

    @property
    def hidden(self) -> slice:
        """Frames to imagine anew."""
        first, colon, end = self.hide.partition(":")
        if self.hide and not (first.isdigit() and end.isdigit() and int(first) < int(end)):
            raise ValueError(f"`hide` must be first:end such as 16:32, got {self.hide!r}")
        return slice(int(first), int(end)) if colon else slice(0)

    def known(self, t: int) -> np.ndarray:
        """Say which of `t` frames are given, `(t,)` bool.

        Raises:
            ValueError: If `hide` goes on beyond them.
        """
        if self.hidden.stop > t:
            raise ValueError(f"`hide` must lie within the film's {t} frames, got {self.hide!r}")
        known = np.ones(t, bool)
        known[self.hidden] = False
        return known


def generate(cfg: GenerateConfig) -> None:
    """Imagine a film and write it."""
    from worldsim.decoding import frame_rate, read_video_at
    from worldsim.images import cut_to, read_image
    from worldsim.video import write_gif, write_video

    source = read_image(cfg.image) if cfg.image else None
    own = frame_rate(cfg.video) if cfg.video else None  # refuses what is no film
    if cfg.expand:
        cfg.prompt = worldsim.expand_prompt(cfg.prompt)
        print(f"prompt: {cfg.prompt}")
    world = worldsim.load(cfg.world, device=cfg.device)
    if heard := world.heard(cfg.prompt or ""):
        print(heard)
    size = cfg.frame_size or world.cfg.frame_size
    if cfg.image:
        source = cut_to(source, size)
    elif cfg.video:
        source = read_video_at(cfg.video, world.cfg.fps, partial(cut_to, size=size))
        print(f"{cfg.video}: {own:g} frames a second, read as {len(source)} at {world.cfg.fps}")
    look = {
        "seed": cfg.seed,
        "sampler_steps": cfg.sampler_steps,
        "guidance": cfg.guidance,
        "variety": cfg.variety,
        "progress": True,
    }
    out = Path(cfg.out or "out/generated.mp4")
    out.parent.mkdir(parents=True, exist_ok=True)
    frames = TASKS[cfg.task][2](world, cfg, source, look)
    frames = frames.repeat(cfg.scale, 1).repeat(cfg.scale, 2)
    if out.suffix == ".gif":
        write_gif(out, frames, world.cfg.fps)
    else:
        out = write_video(out, frames, world.cfg.fps, numbered=not cfg.out)
    print(f"{out}: {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}")


def _from_words(world: "World", cfg: GenerateConfig, look: dict[str, Any]) -> np.ndarray:
    """Film a prompt from the recorded start nearest to it, where there is one; a loop likewise."""
    from worldsim.openings import has_starts

    size = cfg.frame_size or world.cfg.frame_size
    told = cfg.prompt and not cfg.nothing and world.starts.words and has_starts(world, size)
    make = worldsim.text_to_video if cfg.task == "text" else worldsim.loop
    start = "nearest" if told else None
    return make(world, cfg.prompt, frames=cfg.frames, size=size, start=start, **look)


# what each task cannot do without, what else not all of them read, and how it is done: world,
# config, given frames, what belongs with them
TASKS = {
    "text": (
        ("prompt",),
        ("nothing", "frames"),
        lambda world, cfg, _, look: _from_words(world, cfg, look),
    ),
    "image": (
        ("image",),
        ("frames",),
        lambda world, cfg, given, look: worldsim.image_to_video(
            world, given, cfg.prompt, frames=cfg.frames, **look
        ),
    ),
    "extend": (
        ("video",),
        ("before", "after"),
        lambda world, cfg, given, look: worldsim.extend(
            world, given, before=cfg.before, after=cfg.after, prompt=cfg.prompt, **look
        ),
    ),
    "infill": (
        ("video", "hide"),
        (),
        lambda world, cfg, given, look: worldsim.infill(
            world, given, cfg.known(len(given)), prompt=cfg.prompt, **look
        ),
    ),
    "loop": (
        (),
        ("nothing", "frames"),
        lambda world, cfg, _, look: _from_words(world, cfg, look),
    ),
    "edit": (
        ("video", "prompt"),
        ("strength",),
        lambda world, cfg, given, look: worldsim.edit(
            world, given, cfg.prompt, strength=cfg.strength, **look
        ),
    ),
}
