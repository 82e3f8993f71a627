"""World and agent get better by turns: whoever learned in one world is recorded for the next.

The first world is made of random play alone. An agent that learns in it gets further in the real
env than chance does, and what it sees there is what the next world is made of, and so on.

python examples/by_turns.py [env] [turns] [minutes for a world] [minutes for an agent] [folder]
"""

import sys
from pathlib import Path

import gymnasium as gym

import worldsim

WORLD_ENV = "worldsim:worldsim/World-v0"
STEPS = 100  # of an episode that an agent learns in, and that it is judged by


def by_turns(env: str, turns: int, making: float, learning: float, folder: Path) -> Path:
    """Make worlds of `env`, and agents that learn in them, by turns; return the last agent."""
    before = agent = ""
    for turn in range(1, turns + 1):
        out = folder / f"world-{turn}"
        world = worldsim.make_world(env, out, init=before, policy=agent, minutes=making)
        envs = gym.make_vec(WORLD_ENV, num_envs=16, world=world, horizon=STEPS)
        agent = folder / f"agent-{turn}.zip"
        if not (folder / f"world-{turn + 1}.making").exists():  # else that one is made by it
            worldsim.train_agent(envs, agent, minutes=learning)
        real = gym.make(world.cfg.env_id, **world.cfg.env_kwargs, max_episode_steps=STEPS)
        print(f"turn {turn}, in the real env: {worldsim.judge_agent(real, agent, episodes=10)}")
        real.close()
        before = out
    return agent


if __name__ == "__main__":
    usual = ["CarRacing-v3", "2", "30", "10", "out/by-turns"]
    env, turns, making, learning, folder = [*sys.argv[1:], *usual[len(sys.argv) - 1 :]]
    print(by_turns(env, int(turns), float(making), float(learning), Path(folder)))
