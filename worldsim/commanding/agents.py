"""The command that lets an agent learn in a world and judges it there and in the real env."""

import json
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gymnasium import Env
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit

from worldsim.agents import LearnConfig, act_at_random, check_learnable, judge_agent, train_agent
from worldsim.env import WorldEnv
from worldsim.files import write_text
from worldsim.filmed import Filmed, reopen_env
from worldsim.limits import check_counts
from worldsim.loading import find_here, load, name_of
from worldsim.vector_env import WorldVectorEnv
from worldsim.world import World


@dataclass
class AgentConfig(LearnConfig):
    """Where an agent learns, for how long, and how it is judged."""

    world: str = "drive"
    """Name of a shipped world, a folder or a Hub id."""
    out: str = ""
    """File of the agent; agents/<world>.zip if empty. One that is there already learns on."""
    real: bool = False
    """Learn in the env that the world was recorded from instead, to compare."""
    num_envs: int = 16
    """Episodes played at once."""
    horizon: int = 100
    """Steps of an episode, at most, in learning and in judging."""
    episodes: int = 20
    """Episodes of each kind to judge by; 0 judges nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(num_envs=self.num_envs, horizon=self.horizon)
        check_counts(0, episodes=self.episodes)
        name = name_of(self.world)
        self.out = self.out or f"agents/{name}{'-real' if self.real else ''}.zip"
        if not self.out.endswith(".zip"):
            raise ValueError(f"`out` must end in .zip, got {self.out!r}")
        if not (self.minutes or self.steps or Path(self.out).is_file()):
            raise ValueError(
                f"minutes=0 judges the agent that is there, got none at {self.out}; set `minutes`"
            )


def agent(cfg: AgentConfig) -> None:
    """Let an agent learn, judge it, print the table and say how to watch it."""
    world = load(cfg.world, cfg.device or None)
    check_learnable(world.action_space)
    if cfg.real:
        _check_here(world, cfg)
    if cfg.minutes or cfg.steps:
        _check_learned_here(cfg)
        with closing(_many(world, cfg)) as envs:
            try:
                train_agent(envs, cfg.out, cfg)
            except KeyboardInterrupt:
                if Path(cfg.out).is_file():
                    _note(cfg, {})
                raise
        _note(cfg, {})  # what was judged before is another agent by now
    if cfg.episodes:
        own = _learned_here(cfg)  # what it earns in another world is printed alone
        figures = _judge(world, cfg)
        known = {
            who: {name: value for name, value in row.items() if value == value}  # no NaN
            for who, row in figures.items()
        }
        if own:
            _note(cfg, {"episodes": cfg.episodes, "horizon": cfg.horizon, "figures": known})
        print(table(figures))
    print(f"{cfg.out}: an agent; watch it: worldsim play world={cfg.world} agent={cfg.out}")


def real_env(world: World, horizon: int) -> Env | None:
    """Make the env that a world was recorded from, in the same frames; None if it is not here."""
    if not world.cfg.env_id:
        return None
    try:
        made = TimeLimit(reopen_env(world.cfg.env_id, world.cfg.env_kwargs), horizon)
    except Exception as error:  # an env of others can fail in any way
        print(f"{world.cfg.env_id}, which the world was recorded from, is not here: {error}")
        return None
    env = Filmed(made, world.cfg.frame_size)
    if env.action_space == world.action_space:
        return env
    env.close()
    print(f"{world.cfg.env_id} takes {env.action_space} here, the world {world.action_space}")
    return None


def table(figures: dict[str, dict[str, float]]) -> str:
    """Write who earned what as Markdown."""
    rows = [
        f"| {name} | {row['return']:.1f} ± {row['error']:.1f} | {row['length']:.0f} |"
        for name, row in figures.items()
    ]
    head = ["| who, where | return | steps |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows]).replace("± nan", "± ?")


def _note(cfg: AgentConfig, judged: dict[str, Any]) -> None:
    """Write beside the agent which world it is of, and what came of it."""
    text = json.dumps({"world": cfg.world} | judged, indent=2)
    write_text(Path(cfg.out).with_suffix(".json"), text + "\n")


def _check_here(world: World, cfg: AgentConfig) -> None:
    """Refuse to learn in an env that cannot be made."""
    env = real_env(world, cfg.horizon)
    if env is None:
        raise ValueError(
            f"{cfg.world} does not know the env that it was recorded from, or that is not here; "
            "leave `real` out"
        )
    env.close()


def _check_learned_here(cfg: AgentConfig) -> None:
    """Say that the agent which is there learns on; refuse one that is of another world."""
    if not Path(cfg.out).is_file():
        return
    if not _learned_here(cfg):
        raise ValueError(
            f"{cfg.out} learned in the world {_noted_world(cfg)}, got world={cfg.world}; choose "
            "another `out`"
        )
    print(f"{cfg.out} is there and learns on")


def _learned_here(cfg: AgentConfig) -> bool:
    """Say whether an agent is of this world."""
    was = _noted_world(cfg)
    places = _place(was), _place(cfg.world)
    return places[0] == places[1] if all(places) else name_of(was) == name_of(cfg.world)


def _noted_world(cfg: AgentConfig) -> str:
    """Read which world an agent is of; where nothing is noted, of the one that is asked for."""
    note = Path(cfg.out).with_suffix(".json")
    if not note.is_file():
        return cfg.world
    try:
        return str(json.loads(note.read_text())["world"])
    except (ValueError, KeyError, TypeError) as error:  # bad letters are a ValueError, too
        raise ValueError(
            f"{note} must say which world its agent is of, got {type(error).__name__}: {error}; "
            "delete it or choose another `out`"
        ) from None


def _place(world: str) -> Path | None:
    """Return where a world lies, however that is spelled; None if it is not on this disk."""
    here = find_here(world)
    return here and here.resolve()


def _many(world: World, cfg: AgentConfig) -> VectorEnv:
    if cfg.real:
        makers = [partial(real_env, world, cfg.horizon)] * cfg.num_envs
        return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    return WorldVectorEnv(world, cfg.num_envs, horizon=cfg.horizon, render_mode=None)


def _judge(world: World, cfg: AgentConfig) -> dict[str, dict[str, float]]:
    """Play the agent beside random actions and whoever else can act there."""
    real = real_env(world, cfg.horizon)
    dream = WorldEnv(world, horizon=cfg.horizon)
    players = {
        "agent, imagined": (dream, cfg.out),
        "random, imagined": (dream, act_at_random(dream)),
        "autopilot, imagined": (dream, lambda *_: dream.autopilot_action()),
    }
    if real is not None:
        players["agent, real"] = real, cfg.out
        players["random, real"] = real, act_at_random(real)
        driver = getattr(real.unwrapped, "scripted_action", None)
        if driver is not None:
            players["its own driver, real"] = real, lambda _, rng: driver(rng)
    with nullcontext() if real is None else closing(real):
        return {
            name: judge_agent(env, player, episodes=cfg.episodes)
            for name, (env, player) in players.items()
        }
