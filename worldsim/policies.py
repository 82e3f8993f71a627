"""Who acts while an env is recorded: by name, by a function, or an agent trained elsewhere."""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Env, spaces

from worldsim.filmed import load_function
from worldsim.saved_agents import SavedAgent, load_agent
from worldsim.space_json import action_to_json
from worldsim.spaces import Policy, afresh

DRAWN = ("random", "sticky", "keys")  # policies that look at nothing
NAMES = ("scripted", *DRAWN)
ANYTHING = 0.25  # share of what "keys" holds that no key stands for
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
    found = find_policy(policy, env)
    return found if isinstance(found, str) else Onlooker(found, env)


def find_policy(policy: str | Path | Policy, env: Env) -> str | Policy:
    """Return a policy of this name: itself if it is one of `NAMES`, else what it is the address of.

    Raises:
        ValueError: If there is no such policy, or the env has no driver of its own.
    """
    if isinstance(policy, Path):
        return load_policy(str(policy), "policy")
    if not isinstance(policy, str):
        return policy
    if policy == "scripted":
        own_driver(env)  # refuses an env that has none
    return policy if policy in NAMES else load_policy(policy, "policy", *NAMES)


def load_policy(address: str, role: str, *names: str, greedy: bool = False) -> Policy:
    """Return the policy at an address.

    Args:
        address: A .zip that Stable-Baselines3 saved, or "package.module:function".
        role: The name of the setting, for errors.
        *names: What else it may be.
        greedy: Whether an agent does what it thinks best, or draws.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If Stable-Baselines3 is missing.
        ValueError: If the file is no agent, or there is no such function.
    """
    if address.endswith(".zip"):
        return load_agent(address, greedy)
    if ":" in address:
        return load_function(address, role)
    known = ", ".join([*names, "package.module:function"])
    raise ValueError(f"`{role}` must be {known} or a Stable-Baselines3 .zip, got {address!r}")


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


def own_driver(env: Env) -> Callable[[np.random.Generator], Any]:
    """Return what chooses an env's actions under the policy "scripted".

    Raises:
        ValueError: If the env has no such driver.
    """
    drive = getattr(env.unwrapped, "scripted_action", None)
    if drive is None:
        raise ValueError(
            "`policy=scripted` needs an env with scripted_action(rng), which "
            f"{type(env.unwrapped).__name__} lacks; use {', '.join(DRAWN)} or a callable"
        )
    return drive


def chooser(env: Env, policy: str | Policy, seed: int) -> Callable[[Any], Any]:
    """Return `choose(observation) -> action` for one episode, of a policy that `find_policy` found.

    Raises:
        ValueError: If the policy is a name that does not fit the env.
    """
    rng = np.random.default_rng(seed)
    if callable(policy):
        policy = afresh(policy)
        return lambda observation: policy(observation, rng)
    if policy == "scripted":
        drive = own_driver(env)
        return lambda observation: drive(rng)
    space = copy.deepcopy(env.action_space)
    space.seed(seed)
    draw = _presser(env, rng, space.sample) if policy == "keys" else space.sample
    held = draw()

    def choose(observation: Any) -> Any:
        nonlocal held
        if policy == "random" or rng.random() < 0.1:
            held = draw()
        return held

    return choose


def _presser(env: Env, rng: np.random.Generator, sample: Callable[[], Any]) -> Callable[[], Any]:
    """Return what draws a player's actions: each episode likes some keys better than others."""
    from worldsim.keyboard import action_from_keys, key_bindings

    bindings = key_bindings(env)
    uses = Counter(key for keys in bindings for key in keys)
    groups: dict[Any, list[int]] = {}  # an arrow and its letter would add up
    for key in sorted(uses):
        action = bindings.get(frozenset([key]))
        twins = key if action is None else repr(action_to_json(action))
        groups.setdefault(twins, []).append(key)
    keys = [max(twins, key=uses.get) for twins in groups.values()]
    if not keys:
        raise ValueError(
            f'`policy="keys"` needs an action space that keys can stand for, got {env.action_space}'
            '; use policy="sticky" or a callable'
        )
    liking = rng.dirichlet(np.ones(len(keys)))

    def draw() -> Any:
        if rng.random() < ANYTHING:
            return sample()
        few = min(int(rng.integers(3)), len(keys))
        held = rng.choice(keys, few, replace=False, p=liking).tolist()
        return action_from_keys(held, bindings, env.action_space)

    return draw
