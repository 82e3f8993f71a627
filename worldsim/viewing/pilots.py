"""Who drives in the viewer: a person's hands, an autopilot, or an agent.

An agent is a file of Stable-Baselines3 or a function.
"""

from dataclasses import dataclass

from worldsim.agents import load_agent
from worldsim.filmed import load_function
from worldsim.spaces import Policy

DRIVERS = ("human", "autopilot", "agent")


@dataclass(frozen=True)
class Hands:
    """What a person holds: keys in the order of pressing, sticks and mouse by name in [-1, 1]."""

    keys: tuple[int, ...] = ()
    axes: tuple[tuple[str, float], ...] = ()


def load_pilot(agent: str | Policy) -> Policy:
    """Return `policy(observation, rng) -> action`.

    Args:
        agent: Such a function, where one is ("package.module:name"), or a .zip that
            Stable-Baselines3 saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If Stable-Baselines3 is missing.
        ValueError: If the file is no agent, or there is no such function.
    """
    if callable(agent):
        return agent
    if agent.endswith(".zip"):
        return load_agent(agent)
    if ":" not in agent:
        raise ValueError(
            f"`agent` must be a .zip of Stable-Baselines3 or package.module:function, got {agent!r}"
        )
    return load_function(agent, "agent")
