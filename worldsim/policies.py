"""Who acts while an env is recorded: by name, by a function, or an agent trained elsewhere."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Env, spaces

from worldsim.agents import SavedAgent, load_agent
from worldsim.filmed import load_function
from worldsim.recording import DRAWN, own_driver
from worldsim.spaces import Policy, afresh

NAMES = ("scripted", *DRAWN)
HANDS = 3  # numbers of an action that a player steers at once


def choose_policy(policy: str | Policy, env: Env) -> str | Policy:
    """Find out who acts.

    Args:
        policy: A name in `NAMES`, `module:function`, a Stable-Baselines3 file, or a function from
            the env's own observation and a random generator to an action; if empty, the env's own
            driver where it has one, else "keys" where an action is a few real numbers, whose ends a
            player holds and chance hardly ever draws, else "sticky".
        env: The env to act in; filmed, if somebody else's policy acts.

    Returns:
        What `record_episode` takes.

    Raises:
        ValueError: If there is no such policy.
    """
    if not policy:
        if hasattr(env.unwrapped, "scripted_action"):
            return "scripted"
        space = env.action_space
        few = isinstance(space, spaces.Box) and np.prod(space.shape) <= HANDS
        return "keys" if few else "sticky"
    if isinstance(policy, str):
        if policy == "scripted":
            own_driver(env)  # refuses an env that has none
        if policy in NAMES:
            return policy
        if policy.endswith(".zip"):
            policy = load_agent(policy, greedy=False)
        elif ":" in policy:
            policy = load_function(policy, "policy")
        else:
            raise ValueError(
                f"`policy` must be {', '.join(NAMES)}, module:function or a Stable-Baselines3 "
                f".zip, got {policy!r}"
            )
    return Onlooker(policy, env)


@dataclass(frozen=True)
class Onlooker:
    """A policy that sees the env's own observation, whatever frame is filmed.

    An agent that was trained on such frames, as in a world, sees them instead.
    """

    policy: Policy
    env: Env

    def afresh(self) -> "Onlooker":
        """Return the same, as it begins an episode."""
        return Onlooker(afresh(self.policy), self.env)

    def __call__(self, frame: np.ndarray, rng: np.random.Generator) -> Any:
        """Choose an action."""
        seen, agent = self.env.observed, isinstance(self.policy, SavedAgent)
        return self.policy(frame if agent and not self.policy.takes(seen) else seen, rng)
