"""What `worldsim <command>` can do: a table of commands, each a config and a function.

Nothing heavy is imported before a command is chosen. Adding a command is adding a line to
`COMMANDS`.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import MISSING

import worldsim  # its public names load what they need when they are used


def read_size(size: str) -> tuple[int, int]:
    """Read `(h, w)` from width x height such as 96x64."""
    width, _, height = size.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"`size` must be width x height such as 96x64, got {size!r}")
    return int(height), int(width)


@dataclass
class RecordConfig:
    """What to record, and how."""

    env: str = "worldsim/Drive-v0"
    """Id of the env, such as `worldsim/Drive-v0` or `CartPole-v1`."""
    out: str = MISSING
    """Folder of the data set; an interrupted recording goes on where it stopped."""
    episodes: int = 100
    """Episodes that the data set holds in the end."""
    policy: str = "scripted"
    """scripted (the env's own driver), random, or sticky (random, held for some ten steps)."""
    workers: int = 1
    """Processes that record."""
    seed: int = 0
    """Episode `i` is recorded with `seed + i`."""
    max_steps: int | None = None
    """Truncate episodes after so many steps; null leaves it to the env."""
    quality: str = "training"
    """Of the videos: training, lossless, or people."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the env, such as env_kwargs.scene.biome=desert."""


def record(cfg: RecordConfig) -> None:
    """Record a data set and describe it."""
    import gymnasium

    env = cfg.env
    if cfg.env_kwargs:
        env = gymnasium.make(cfg.env, render_mode="rgb_array", **cfg.env_kwargs)
    try:
        dataset = worldsim.record(
            env, cfg.out, episodes=cfg.episodes, policy=cfg.policy, workers=cfg.workers,
            seed=cfg.seed, max_steps=cfg.max_steps, quality=cfg.quality,
        )  # fmt: skip
    finally:
        if cfg.env_kwargs:
            env.close()
    print(f"{cfg.out}: {len(dataset)} episodes, {sum(dataset.lengths):,} steps")
    print(f"look at them: worldsim data preview path={cfg.out}")


@dataclass
class InspectConfig:
    """Which data set to describe."""

    path: str = MISSING
    """Folder of the data set."""


def inspect_data(cfg: InspectConfig) -> None:
    """Print a table of features, episodes, captions and actions."""
    print(worldsim.inspect(worldsim.open_dataset(cfg.path)))


@dataclass
class PreviewConfig:
    """Which data set to draw, and where to."""

    path: str = MISSING
    """Folder of the data set."""
    out: str = "out/preview.png"
    """A .png or .jpg gets a contact sheet, an .mp4 gets a film; both show the actions."""
    episodes: int = 6
    """Episodes to draw, evenly spaced."""
    columns: int = 8
    """Frames per episode on a contact sheet."""
    seconds: float = 20.0
    """Length of a film."""


def preview_data(cfg: PreviewConfig) -> None:
    """Draw episodes of a data set into a file."""
    path = worldsim.preview(
        worldsim.open_dataset(cfg.path), cfg.out,
        episodes=cfg.episodes, columns=cfg.columns, seconds=cfg.seconds,
    )  # fmt: skip
    print(path)


@dataclass
class ConvertConfig:
    """What to convert, and into what."""

    path: str = MISSING
    """A folder of videos with what is known of them, or a LeRobot v3 data set."""
    out: str = MISSING
    """Folder of the new data set; an interrupted conversion goes on where it stopped."""
    fps: int = 0
    """Frames per second; 0 takes the slowest video's, at most 30."""
    size: str | None = None
    """Width x height such as 96x64; null chooses."""
    video_key: str | None = None
    """Which of a LeRobot data set's videos to take; null takes the first."""


def convert_data(cfg: ConvertConfig) -> int | None:
    """Convert recordings, or print a table of what is wrong with them."""
    from worldsim.conversion import SourceFaults

    size = read_size(cfg.size) if cfg.size else None
    try:
        dataset = worldsim.convert(
            cfg.path, cfg.out, fps=cfg.fps, frame_size=size, video_key=cfg.video_key
        )
    except SourceFaults as faults:
        print(faults, file=sys.stderr)
        return 1
    print(f"{cfg.out}: {len(dataset)} episodes, {sum(dataset.lengths):,} steps")
    print(f"look at them: worldsim data preview path={cfg.out}")


@dataclass
class MergeConfig:
    """Which data sets to join."""

    paths: tuple[str, ...] = ()
    """Folders of data sets, such as [data/a,data/b]."""
    out: str = MISSING
    """Folder of the new data set."""


def merge_data(cfg: MergeConfig) -> int | None:
    """Join data sets, or print a table of how they differ."""
    from worldsim.conversion import SourceFaults

    try:
        dataset = worldsim.merge(cfg.paths, cfg.out)
    except SourceFaults as faults:
        print(faults, file=sys.stderr)
        return 1
    print(f"{cfg.out}: {len(dataset)} episodes, {sum(dataset.lengths):,} steps")


@dataclass
class SplitConfig:
    """How to part a data set."""

    path: str = MISSING
    """Folder of the data set, which stays as it is."""
    out: str = ""
    """The parts become <out>-train and <out>-test; `path` if empty."""
    test: float = 0.1
    """Share of the episodes to judge by."""
    seed: int = 0
    """Chooses them."""


def split_data(cfg: SplitConfig) -> None:
    """Part a data set in two."""
    for part in worldsim.split(cfg.path, cfg.out or cfg.path, test=cfg.test, seed=cfg.seed):
        print(f"{part.path}: {len(part)} episodes, {sum(part.lengths):,} steps")


@dataclass
class GenerateConfig:
    """What to film."""

    task: str = "text"
    """text, image (goes on from a picture), extend, infill, loop, or edit."""
    world: str = "drive"
    """Shipped world, folder, or Hub id."""
    prompt: str | None = None
    """What to see."""
    image: str | None = None
    """Picture to begin with (image)."""
    video: str | None = None
    """Film to start from (extend, infill, edit)."""
    frames: int = 64
    """Length (text, image, loop)."""
    size: str | None = None
    """Width x height such as 96x64 (text); null takes the world's own."""
    before: int = 0
    """Frames to imagine before the film (extend)."""
    after: int = 16
    """Frames to imagine after the film (extend)."""
    hide: str = ""
    """Frames to imagine anew, such as 16:32 (infill)."""
    strength: float = 0.6
    """How much may change, from 0 to 1 (edit)."""
    expand: bool = False
    """Whether to put the prompt into the style of the captions that the world learned from."""
    sampler_steps: int | None = None
    """Denoising steps per frame; null takes the world's own."""
    guidance: float = 1.0
    """How strongly the prompt is followed; 1 is as learned."""
    seed: int = 0
    """Same seed, same film."""
    device: str | None = None
    """Where the model runs, such as cuda; null chooses."""
    out: str = "out/generated.mp4"
    """An .mp4 or a .gif."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"`task` must be one of {', '.join(TASKS)}, got {self.task!r}")
        for name in TASKS[self.task][0]:
            if not getattr(self, name):
                raise ValueError(f"task={self.task} needs `{name}`, got nothing; add {name}=...")
        if Path(self.out).suffix not in (".mp4", ".gif"):
            raise ValueError(f"`out` must end in .mp4 or .gif, got {self.out!r}")
        if self.frames < 1:
            raise ValueError(f"`frames` must be at least 1, got {self.frames}")
        _ = self.frame_size, self.hidden  # refuses what cannot be read

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """`(h, w)` of `size`."""
        if self.size is None:
            return None
        return read_size(self.size)

    @property
    def hidden(self) -> slice:
        """Frames to imagine anew."""
        first, colon, end = self.hide.partition(":")
        if self.hide and not (first.isdigit() and end.isdigit() and int(first) < int(end)):
            raise ValueError(f"`hide` must be first:end such as 16:32, got {self.hide!r}")
        return slice(int(first), int(end)) if colon else slice(0)

    def known(self, t: int) -> np.ndarray:
        """Say which of `t` frames are given, `(t,)` bool."""
        known = np.ones(t, bool)
        known[self.hidden] = False
        return known


def generate(cfg: GenerateConfig) -> None:
    """Imagine a film and write it."""
    from worldsim.video import read_image, read_video, write_gif, write_video

    source = read_image(cfg.image) if cfg.image else read_video(cfg.video) if cfg.video else None
    if cfg.expand and cfg.prompt:
        cfg.prompt = worldsim.expand_prompt(cfg.prompt)
        print(f"prompt: {cfg.prompt}")
    world = worldsim.load(cfg.world, device=cfg.device)
    look = {
        "seed": cfg.seed,
        "sampler_steps": cfg.sampler_steps,
        "guidance": cfg.guidance,
        "progress": True,
    }
    frames = TASKS[cfg.task][1](world, cfg, source, look)
    Path(cfg.out).parent.mkdir(parents=True, exist_ok=True)
    write = write_gif if cfg.out.endswith(".gif") else write_video
    write(cfg.out, frames, world.cfg.fps)
    print(f"{cfg.out}: {len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}")


# what each task cannot do without, and how it is done: world, config, given frames, `Look`
TASKS = {
    "text": (
        ("prompt",),
        lambda world, cfg, _, look: worldsim.text_to_video(
            world, cfg.prompt, frames=cfg.frames, size=cfg.frame_size, **look
        ),
    ),
    "image": (
        ("image",),
        lambda world, cfg, given, look: worldsim.image_to_video(
            world, given, cfg.prompt, frames=cfg.frames, **look
        ),
    ),
    "extend": (
        ("video",),
        lambda world, cfg, given, look: worldsim.extend(
            world, given, before=cfg.before, after=cfg.after, prompt=cfg.prompt, **look
        ),
    ),
    "infill": (
        ("video", "hide"),
        lambda world, cfg, given, look: worldsim.infill(
            world, given, cfg.known(len(given)), prompt=cfg.prompt, **look
        ),
    ),
    "loop": (
        (),
        lambda world, cfg, _, look: worldsim.loop(world, cfg.prompt, frames=cfg.frames, **look),
    ),
    "edit": (
        ("video", "prompt"),
        lambda world, cfg, given, look: worldsim.edit(
            world, given, cfg.prompt, strength=cfg.strength, **look
        ),
    ),
}


def make(cfg: Any) -> None:
    """Make a world and say how to play it."""
    settings = {k: v for k, v in vars(cfg).items() if k not in ("env", "out")}
    worldsim.make_world(cfg.env, cfg.out, **settings)
    card = (Path(cfg.out) / "README.md").read_text()
    print(card.partition("## How true it is")[2].partition("Real frames")[0].strip())
    print(
        f"\n{cfg.out}: a world; look at its README.md, and play it: worldsim play world={cfg.out}"
    )


def _later(path: str) -> Callable[[Any], int | None]:
    """Return a function that is imported when it is called."""
    module, _, name = path.partition(":")
    return lambda cfg: getattr(import_module(module), name)(cfg)


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        about: What it does, for the list of commands.
        config: Its config dataclass, `module:Class`, imported when the command is chosen.
        run: Does it; what it returns, if anything, is the exit status.
        example: Overrides that show what it is for.
    """

    about: str
    config: str
    run: Callable[[Any], int | None]
    example: str = ""

    @property
    def schema(self) -> type:
        """The config dataclass."""
        module, _, name = self.config.partition(":")
        return getattr(import_module(module), name)


COMMANDS = {
    "play": Command(
        "drive through a world in a window; without a display, film it",
        "worldsim.viewer:PlayConfig", lambda cfg: worldsim.play(cfg=cfg) and None,
        'world=drive prompt="a desert road at sunset"',
    ),
    "record": Command(
        "record episodes of an env under a policy",
        "worldsim.commands:RecordConfig", record, "out=data/drive episodes=100 workers=2",
    ),
    "data inspect": Command(
        "describe a data set: features, episodes, captions, actions",
        "worldsim.commands:InspectConfig", inspect_data, "path=data/drive",
    ),
    "data preview": Command(
        "draw a data set: a contact sheet or a film, with the actions drawn in",
        "worldsim.commands:PreviewConfig", preview_data, "path=data/drive out=out/preview.mp4",
    ),
    "data convert": Command(
        "convert a folder of videos, or anybody's LeRobot v3 data set",
        "worldsim.commands:ConvertConfig", convert_data, "path=videos out=data/mine fps=15",
    ),
    "data merge": Command(
        "join data sets into a new one",
        "worldsim.commands:MergeConfig", merge_data, "paths=[data/a,data/b] out=data/both",
    ),
    "data split": Command(
        "part a data set: episodes to learn from, episodes to judge by",
        "worldsim.commands:SplitConfig", split_data, "path=data/drive test=0.1",
    ),
    "train": Command(
        "train a tokenizer, then the dynamics of a world; resumes what was interrupted",
        "worldsim.launch:LaunchConfig", _later("worldsim.launch:launch"),
        "stage=tokenizer data=data/drive out=runs/tok model=small",
    ),
    "make": Command(
        "make a playable world of any env: record, train, measure; resumes what was interrupted",
        "worldsim.making:MakeConfig", make, "env=ALE/Breakout-v5 out=worlds/breakout minutes=30",
    ),
    "generate": Command(
        "film a world: from text, from a picture, before, after or between given frames",
        "worldsim.commands:GenerateConfig", generate,
        'prompt="a city street in the rain" size=96x64',
    ),
    "evaluate": Command(
        "measure a world on recordings that it has not seen, and write a report",
        "worldsim.measuring.study:EvaluateConfig",
        lambda cfg: print(worldsim.evaluate(cfg.world, cfg.data, cfg.out or None, cfg)),
        "world=drive data=data/drive-test out=report",
    ),
    "bench": Command(
        "time each part of a world on this machine",
        "worldsim.benchmark:BenchConfig", lambda cfg: print(worldsim.bench(cfg.world, cfg)),
        "world=drive",
    ),
    "doctor": Command(
        "look at this machine: what is there, what is missing, what to do about it",
        "worldsim.doctor:DoctorConfig", _later("worldsim.doctor:report"),
    ),
}  # fmt: skip
