"""Step imagined worlds like any Gymnasium env: four in a batch at random, one on autopilot.

python examples/gym_loop.py [world] [steps]
"""

import sys

import gymnasium as gym
import numpy as np

WORLD_ENV = "worldsim:worldsim/World-v0"


def at_random(world: str, steps: int) -> np.ndarray:
    """Return `(4,)`: what four worlds, stepped as one batch, earn under random actions."""
    envs = gym.make_vec(WORLD_ENV, num_envs=4, world=world)
    envs.action_space.seed(0)
    envs.reset(seed=0)
    returns = np.zeros(envs.num_envs)
    for _ in range(steps):  # a world that ends starts afresh in the same step
        _, rewards, _, _, _ = envs.step(envs.action_space.sample())
        returns += rewards
    envs.close()
    return returns


def on_autopilot(world: str, steps: int) -> float:
    """Return what one world earns under the policy that it learned from its recordings."""
    env = gym.make(WORLD_ENV, world=world)
    env.reset(seed=0)
    total = 0.0
    for _ in range(steps):
        _, reward, terminated, truncated, _ = env.step(env.unwrapped.autopilot_action())
        total += reward
        if terminated or truncated:
            env.reset()
    env.close()
    return total


if __name__ == "__main__":
    world = sys.argv[1] if len(sys.argv) > 1 else "drive"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    print(f"return in {steps} random steps: {at_random(world, steps).round(1)}")
    print(f"return in {steps} steps on autopilot: {on_autopilot(world, steps):.1f}")
