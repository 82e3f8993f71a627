"""Who drives in the viewer: a person's hands, an autopilot, or an agent.

An agent is a file of Stable-Baselines3 or a function.
"""

from dataclasses import dataclass

from worldsim.policies import load_policy
from worldsim.spaces import Policy

DRIVERS = ("human", "autopilot", "agent")


@dataclass(frozen=True)
class Hands:
    """What a person holds: keys in the order of pressing, sticks and mouse by name in [-1, 1]."""

    keys: tuple[int, ...] = ()
    axes: tuple[tuple[str, float], ...] = ()


def load_pilot(agent: str | Policy) -> Policy:
    """Return `policy(observation, rng) -> action`: itself, or what `load_policy` finds."""
    return agent if callable(agent) else load_policy(agent, "agent", greedy=True)
