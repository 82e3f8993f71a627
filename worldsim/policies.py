"""Who acts while an env is recorded: by name, by a function, or an agent trained elsewhere."""

from worldsim.agents import load_agent
from worldsim.filmed import Filmed, load_function
from worldsim.spaces import Policy

NAMES = ("scripted", "random", "sticky")


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
            policy = load_agent(policy, greedy=False)
        elif ":" in policy:
            policy = load_function(policy, "policy")
        else:
            raise ValueError(
                f"`policy` must be {', '.join(NAMES)}, module:function or a Stable-Baselines3 "
                f".zip, got {policy!r}"
            )
    return lambda frame, rng: policy(env.observed, rng)
