"""Step imagined worlds as any vectorised Gymnasium env, under their own autopilot and at random.

    python examples/gym_loop.py [world] [steps]
"""

import sys

import gymnasium as gym
import numpy as np

WORLD = sys.argv[1] if len(sys.argv) > 1 else "drive"
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 100


def at_random() -> np.ndarray:
    """Return what four worlds earn, each on its own, under random actions."""
    envs = gym.make_vec("worldsim:worldsim/World-v0", num_envs=4, world=WORLD)
    envs.action_space.seed(0)
    envs.reset(seed=0)
    returns = np.zeros(4)
    for _ in range(STEPS):
        _, rewards, _, _, _ = envs.step(envs.action_space.sample())
        returns += rewards
    envs.close()
    return returns


def on_autopilot() -> float:
    """Return what one world earns under the policy that it learned from its recordings."""
    env = gym.make("worldsim:worldsim/World-v0", world=WORLD)
    env.reset(seed=0)
    total = 0.0
    for _ in range(STEPS):
        _, reward, terminated, truncated, _ = env.step(env.unwrapped.autopilot_action())
        total += reward
        if terminated or truncated:
            env.reset()
    env.close()
    return total


if __name__ == "__main__":
    print(f"return in {STEPS} random steps: {at_random().round(1)}")
    print(f"return in {STEPS} steps on autopilot: {on_autopilot():.1f}")
