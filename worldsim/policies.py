"""Who acts while an env is recorded: by name, by a function, or an agent trained elsewhere."""

import json
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worldsim.filmed import Filmed, load_function
from worldsim.spaces import Policy

NAMES = ("scripted", "random", "sticky")
# the part of a module's name that tells whose policy lies in a Stable-Baselines3 file; actor and
# critic in common act alike whether PPO or A2C trained them
AGENTS = {
    "stable_baselines3.common": "stable_baselines3:PPO",
    "stable_baselines3.dqn": "stable_baselines3:DQN",
    "stable_baselines3.sac": "stable_baselines3:SAC",
    "stable_baselines3.td3": "stable_baselines3:TD3",
    "sb3_contrib.qrdqn": "sb3_contrib:QRDQN",
    "sb3_contrib.tqc": "sb3_contrib:TQC",
}


def choose_policy(policy: str | Policy, env: Filmed) -> str | Policy:
    """Find out who acts.

    Args:
        policy: A name in `NAMES`, `module:function`, a Stable-Baselines3 file, or a function from
            the env's own observation and a random generator to an action; if empty, the env's own
            driver where it has one, else "sticky".
        env: The env to act in.

    Returns:
        What `record_episode` takes.

    Raises:
        ValueError: If there is no such policy.
    """
    if not policy:
        return "scripted" if hasattr(env.unwrapped, "scripted_action") else "sticky"
    if isinstance(policy, str):
        if policy == "scripted" and not hasattr(env.unwrapped, "scripted_action"):
            raise ValueError(
                "`policy=scripted` needs an env with scripted_action(rng), which "
                f"{type(env.unwrapped).__name__} lacks; try sticky"
            )
        if policy in NAMES:
            return policy
        if policy.endswith(".zip"):
            policy = load_agent(policy)
        elif ":" in policy:
            policy = load_function(policy, "policy")
        else:
            raise ValueError(
                f"`policy` must be {', '.join(NAMES)}, module:function or a Stable-Baselines3 "
                f".zip, got {policy!r}"
            )
    return lambda frame, rng: policy(env.observed, rng)


def load_agent(path: str | Path) -> Policy:
    """Read an agent that Stable-Baselines3 or sb3-contrib saved; it samples its actions.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no agent that is known here.
        ImportError: If the library is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no agent at {path}; save one with `model.save`")
    try:
        with zipfile.ZipFile(path) as file:
            kind = json.loads(file.read("data"))["policy_class"]["__module__"]
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(
            f"`policy` must be a file that Stable-Baselines3 saved, got {path}: {error!r}"
        ) from None
    name = AGENTS.get(".".join(kind.split(".")[:2]))
    if name is None:
        raise ValueError(
            f"an agent must be one of {', '.join(n.split(':')[1] for n in AGENTS.values())}, got "
            f"one of {kind}; wrap it in a function and pass policy=module:function"
        )
    module, _, agent = name.partition(":")
    try:
        model = getattr(import_module(module), agent).load(path, device="cpu")
    except ImportError as error:
        raise ImportError(f"{path} needs {module}: `pip install worldsim-sdk[rl]`") from error

    def act(observation: Any, rng: np.random.Generator) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            return model.predict(observation)[0]

    return act
