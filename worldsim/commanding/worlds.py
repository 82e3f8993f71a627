"""Commands about a world: play it, make one, measure it, time it."""

from pathlib import Path
from typing import TYPE_CHECKING

import worldsim  # its public names load what they need when they are used

if TYPE_CHECKING:
    from worldsim.benchmark import BenchConfig
    from worldsim.make_config import MakeConfig
    from worldsim.measuring.settings import EvaluateConfig
    from worldsim.viewer import PlayConfig


def play(cfg: "PlayConfig") -> None:
    """Play, or film where there is no display."""
    worldsim.play(cfg=cfg)


def make(cfg: "MakeConfig") -> None:
    """Make a world and say how to play it."""
    settings = {k: v for k, v in vars(cfg).items() if k not in ("env", "out")}
    worldsim.make_world(cfg.env, cfg.out, **settings)
    card = (Path(cfg.out) / "README.md").read_text()
    print(card.partition("## How true it is")[2].partition("Real frames")[0].strip())
    print(
        f"\n{cfg.out}: a world; look at its README.md, and play it: worldsim play world={cfg.out}"
    )


def evaluate(cfg: "EvaluateConfig") -> None:
    """Measure a world and print the figures."""
    print(worldsim.evaluate(cfg.world, cfg.data, cfg.out or None, cfg))


def bench(cfg: "BenchConfig") -> None:
    """Time a world and print the table."""
    print(worldsim.bench(cfg.world, cfg))
