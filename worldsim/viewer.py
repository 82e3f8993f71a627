"""Play any env, imagined or real: in a window, in a browser, or without either as a film.

    play ─┬─ window.Window ─┬─ player.Player (a thread) ─┐
          ├─ web.Broadcast ─┘                            │
          └─ film_session ───────────────────────────────┴─ session.Session ── stage.Stage ── env

A window and a browser show what a thread plays; a film is played where it is asked for.
"""

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium
import pygame
from tqdm import tqdm

from worldsim.filmed import open_env
from worldsim.limits import check_choice, check_least
from worldsim.loading import find_world, name_of
from worldsim.spaces import Policy
from worldsim.viewing.controls import read_keys
from worldsim.viewing.film import PIXELS, Film
from worldsim.viewing.insides import world_of
from worldsim.viewing.session import Session
from worldsim.viewing.stage import Stage
from worldsim.viewing.window import Window
from worldsim.world import World

WORLD_ENV = "worldsim/World-v0"
WORLD_SETTINGS = ("sampler_steps", "guidance", "variety", "device")  # of `PlayConfig`, for that env


@dataclass
class PlayConfig:
    """What to play, and how it is shown."""

    world: str = "drive"
    """Shipped world, folder, or Hub id."""
    env: str | None = None
    """Id of an env to play instead of a world, such as `CartPole-v1`, or module:function."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of that env, such as env_kwargs.scene.biome=desert."""
    prompt: str | None = None
    """What to begin with: the recorded start that shows most of this, under this prompt."""
    nothing: bool = False
    """Whether a prompt begins from nothing: all of it is imagined, and rougher."""
    seed: int = 0
    """Of the first episode; each new start takes the next one."""
    sampler_steps: int | None = None
    """Denoising steps per frame; null takes the world's own."""
    guidance: float | None = None
    """Classifier-free guidance; null takes the env's default."""
    variety: float | None = None
    """How much chance has a say, from 0 (what is expected) to 1; null takes the world's own."""
    device: str | None = None
    """Where the model runs, such as `cuda`; null chooses."""
    frames: int = 240
    """Length of the film where there is no display."""
    out: str | None = None
    """Film to write; null makes it `out/<world>.mp4`."""
    autopilot: bool = False
    """Whether the autopilot drives at first; without a display it always does."""
    record: bool = False
    """Whether to film from the first frame on."""
    fps: float | None = None
    """Frames per second; null takes the env's own."""
    scale: float | None = None
    """Window pixels to a frame pixel at first; null makes the longer side some 700."""
    pixels: str = "sharp"
    """How frames are enlarged: "sharp", "whole" (sharp, by a whole factor) or "smooth"."""
    hud: bool = True
    """Whether to show the HUD at first, and below films without a window."""
    full_screen: bool = False
    keys: str | None = None
    """Own key bindings, JSON or a file of it, such as {"space": "p", "left": [-1, 0, 0]}."""
    agent: str | None = None
    """An agent that can drive: a .zip of Stable-Baselines3, or package.module:function."""
    replay: str | None = None
    """Folder of a data set to play back instead of a world; seed is the first episode."""
    web: bool = False
    """Whether to play in a browser instead of a window; needs no display."""
    web_host: str = "127.0.0.1"
    """Address that the browser finds it on; 0.0.0.0 lets other machines in, without encryption."""
    web_port: int = 8765
    """Port of that address; 0 takes a free one."""

    def __post_init__(self) -> None:
        check_least(self, frames=1)
        for name in ("fps", "scale"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(
                    f"`{name}` must be above 0, got {value}; leave it out for the default"
                )
        if bool(self.env) + bool(self.replay) + (self.world != PlayConfig.world) > 1:
            raise ValueError(
                f"`world`, `env` and `replay` exclude each other, got world={self.world}, "
                f"env={self.env}, replay={self.replay}; leave out all but one"
            )
        for name in WORLD_SETTINGS if self.env or self.replay else ():
            if getattr(self, name) is not None:
                raise ValueError(
                    f"`{name}` is for a world played by its name or folder, got "
                    f"{getattr(self, name)!r} for {self.title}; leave it out, or give it to the "
                    "`gymnasium.make` of a world and play that env"
                )
        if self.env_kwargs and not self.env:
            raise ValueError(
                f"`env_kwargs` are arguments of `env`, got {self.env_kwargs} and no env; name it"
            )
        if not 0 <= self.web_port < 2**16:
            raise ValueError(
                f"`web_port` must be from 0 (a free one) to 65535, got {self.web_port}"
            )
        for name in ("scale", "full_screen") if self.web else ("web_host", "web_port"):
            if getattr(self, name) != getattr(PlayConfig, name):
                raise ValueError(
                    f"`{name}` is for {'a window' if self.web else 'web=true'}, got "
                    f"{name}={getattr(self, name)} with web={str(self.web).lower()}; leave it out"
                )
        check_choice("pixels", self.pixels, PIXELS)
        if self.out is not None and Path(self.out).suffix != ".mp4":
            raise ValueError(f"`out` must end in .mp4, got {self.out!r}")
        read_keys(self.keys)  # refuses what cannot be read

    @property
    def title(self) -> str:
        """Name of what is played."""
        if self.replay:
            return Path(self.replay).name
        return self.env.split("/")[-1].split(":")[-1] if self.env else name_of(self.world)

    @property
    def film_path(self) -> Path:
        """Where films go."""
        return Path(self.out or f"out/{self.title}.mp4")


def play(
    what: str | World | gymnasium.Env | None = None,
    cfg: PlayConfig | None = None,
    *,
    agent: str | Policy | None = None,
    **overrides: Any,
) -> list[Path]:
    """Play a world or an env; without a display, film it under its autopilot.

    Args:
        what: Name or folder of a world, a `World`, or an env with `rgb_array` rendering (which is
            closed at the end); None plays what `cfg` says.
        cfg: How to play.
        agent: Who drives at first, as in `PlayConfig`; here it can also be a function
            `policy(observation, rng) -> action`.
        **overrides: Fields of `PlayConfig`, for short (`prompt="a city in the rain"`).

    Returns:
        The films that were written.

    Raises:
        TypeError: If `what` is none of these.
        ValueError: If settings make no sense, or do not fit what is played.
    """
    cfg = _aimed(what, replace(cfg or PlayConfig(), **overrides))
    source = None if isinstance(what, str | Path) else what
    if source is None and not (cfg.env or cfg.replay):
        find_world(cfg.world)  # before a port or a window is opened
    keys = read_keys(cfg.keys)

    def open_session() -> Session:
        how = _fields(cfg, "seed", "autopilot", "fps", "prompt", "nothing")
        how |= {"agent": agent or cfg.agent, "out": cfg.film_path}
        return Session(lambda: open_stage(cfg, source), **how)

    look = _fields(cfg, "pixels", "hud", "record")
    if cfg.web:
        from worldsim.web import Broadcast  # an extra

        look |= {"host": cfg.web_host, "port": cfg.web_port, "aliases": keys.aliases}
        return Broadcast(open_session, cfg.title, **look).run()
    if not has_display():
        return [film_session(open_session(), cfg)]
    look |= _fields(cfg, "scale", "full_screen")
    return Window(open_session, cfg.title, keys=keys, **look).run()


def _aimed(what: Any, cfg: PlayConfig) -> PlayConfig:
    """Return `cfg` with `what` written into it as what is played."""
    if isinstance(what, str | Path):
        return replace(cfg, world=str(what))
    if isinstance(what, gymnasium.Env):
        return replace(cfg, env=what.spec.id if what.spec else type(what.unwrapped).__name__)
    if hasattr(what, "cfg"):
        return replace(cfg, world=what.cfg.name)
    if what is not None:
        raise TypeError(
            f"`what` must be a world, its name or folder, or a gymnasium.Env, got {what!r}; "
            "make the env first, or record a batch and play it back with `replay`"
        )
    return cfg


def _fields(cfg: PlayConfig, *names: str) -> dict[str, Any]:
    return {name: getattr(cfg, name) for name in names}


def open_stage(cfg: PlayConfig, source: World | gymnasium.Env | None = None) -> Stage:
    """Make the env that `cfg` asks for, or take `source`."""
    actions = read_keys(cfg.keys).actions
    if cfg.replay:
        from worldsim.viewing.replay import ReplayEnv  # PyArrow takes a while

        return Stage(ReplayEnv(cfg.replay), cfg.title)
    if isinstance(source, gymnasium.Env):
        env = source
    elif cfg.env:
        env = open_env(cfg.env, **cfg.env_kwargs)
    else:
        how = {"world": source or cfg.world, "render_mode": "rgb_array"}
        how |= {k: v for k, v in _fields(cfg, *WORLD_SETTINGS).items() if v is not None}
        env = gymnasium.make(WORLD_ENV, disable_env_checker=True, **how)
    return Stage(env, cfg.title, world_of(env) is not None, actions)


def has_display() -> bool:
    """Return whether a window can be opened and seen."""
    driver = os.environ.get("SDL_VIDEODRIVER", "")
    bare = sys.platform.startswith("linux") and not driver
    if bare and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        pygame.display.init()
    except pygame.error:
        return False
    return pygame.display.get_driver() not in ("dummy", "offscreen")


def film_session(session: Session, cfg: PlayConfig) -> Path:
    """Film `cfg.frames` frames under the agent or on autopilot, with a progress bar.

    An interrupted or failing run leaves what was filmed so far as a whole file.
    """
    by = "" if session.agent is None else " under the agent"
    print(f"no display: filming {cfg.frames} frames of {cfg.title}{by}")
    try:
        session.start()
        if session.driver == "human":
            session.driver = "autopilot"
        numbered = cfg.out is None  # what was played before stays
        session.film = Film(cfg.film_path, session.stage, session.fps, cfg.hud, numbered)
        with tqdm(total=cfg.frames, unit="frame") as bar:
            session.film.write(session.stage)
            bar.update()
            while session.film.frames < cfg.frames:
                session.tick()
                bar.update()
    finally:
        session.close()
    print(session.notices.pop())
    return session.films[-1]
