"""From an env of your own to a world that imagines it, in half a minute on one core.

python examples/own_env.py [seconds of training] [folder]
"""

import sys
import tempfile
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium import spaces

import worldsim


class Ball(gym.Env):
    """A ball that flies to and fro above a paddle; missing it ends the episode."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(self, render_mode: str | None = "rgb_array") -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (32, 32, 3), np.uint8)
        self.action_space = spaces.Discrete(3)  # stay, left, right

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.ball = self.np_random.uniform([4, 4], [28, 16])
        self.speed = np.array([self.np_random.choice([-2.0, 2.0]), 2.0])
        self.paddle = 16
        return self.render(), {"caption": "a ball and a paddle"}

    def step(self, action):
        self.paddle = int(np.clip(self.paddle + (0, -3, 3)[int(action)], 5, 27))
        self.ball += self.speed
        self.speed *= np.where((self.ball < 2) | (self.ball > [29, 28]), -1, 1)
        low = self.ball[1] > 28
        hit = low and abs(self.ball[0] - self.paddle) < 7
        self.ball = np.clip(self.ball, 2, [29, 28])
        missed = bool(low and not hit)
        return self.render(), float(hit), missed, False, {"caption": "a ball and a paddle"}

    def render(self):
        picture = np.full((32, 32, 3), (24, 28, 40), np.uint8)
        x, y = self.ball.astype(int)
        picture[y - 2 : y + 2, x - 2 : x + 2] = (250, 200, 80)
        picture[29:31, self.paddle - 5 : self.paddle + 5] = (120, 200, 250)
        return picture


gym.register("Ball-v0", Ball, max_episode_steps=100)


def main(seconds: float, folder: Path) -> None:
    """Record `Ball-v0`, train a tiny world on it and play in the world for 50 steps."""
    data = worldsim.record("Ball-v0", episodes=60, policy="sticky")
    worldsim.train_tokenizer(data, folder / "tokenizer", model="tiny", minutes=seconds / 120)
    worldsim.train_dynamics(
        data, folder / "tokenizer", folder / "dynamics", model="tiny", minutes=seconds / 120
    )
    env = gym.make("worldsim:worldsim/World-v0", world=folder / "dynamics" / "world")
    env.reset(seed=0)
    for _ in range(50):
        frame, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    print(f"imagined 50 frames of {frame.shape} from {folder / 'dynamics' / 'world'}")
    worldsim.play(env, frames=60, out=str(folder / "ball.mp4"))


if __name__ == "__main__":
    home = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp(prefix="worldsim-"))
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20, home)
