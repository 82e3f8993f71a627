"""CarRacing with a driver who knows the road: recordings show more of it than chance sees.

cd examples && worldsim make env=track_driver:DrivenCarRacing-v0 out=worlds/driven minutes=30

An env that has `scripted_action(rng)` is recorded under it, unless another policy is asked for.

python examples/track_driver.py [steps]
"""

import sys

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing

HELD = ((0, 0, 0), (-1, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 0.8), (-1, 1, 0), (1, 1, 0))


class DrivenCarRacing(CarRacing):
    """A CarRacing whose own driver has another pace, line and hand in each episode.

    Two drivers in three now and then hold any keys for a second: who has only ever seen the middle
    of the road does not know what comes of leaving it.
    """

    def reset(self, *, seed=None, options=None):
        """Draw a track, and forget who drove the last one."""
        self.driver = None
        return super().reset(seed=seed, options=options)

    def scripted_action(self, rng: np.random.Generator) -> np.ndarray:
        """Choose `[steer, gas, brake]` from the track ahead and the car's motion."""
        if self.driver is None:
            self.driver = {
                "pace": rng.uniform(25, 75),  # metres a second on a straight
                "line": rng.uniform(-3, 3),  # metres left of the middle; the road has 6.7
                "ahead": rng.integers(3, 7),  # tiles that the driver looks ahead
                "noise": rng.choice([0.0, 0.1, 0.3]),
                "whims": rng.choice([0.0, 0.01, 0.03]),  # a step
            }
            self.whim = []
        if not self.whim and rng.random() < self.driver["whims"]:
            self.whim = [HELD[rng.integers(len(HELD))]] * rng.integers(8, 30)
        if self.whim:
            return np.float32(self.whim.pop())
        return self._follow(rng)

    def _follow(self, rng: np.random.Generator) -> np.ndarray:
        road, hull, driver = np.array(self.track), self.car.hull, self.driver
        here = np.array(hull.position)
        nearest = np.linalg.norm(road[:, 2:] - here, axis=1).argmin()
        _, beta, x, y = road[(nearest + driver["ahead"]) % len(road)]
        left = np.array([-np.cos(beta), -np.sin(beta)])  # of a road that runs along (-sin, cos)
        way = np.array([x, y]) + driver["line"] * left - here
        forward = np.array(hull.GetWorldVector((0.0, 1.0)))
        turn = np.arctan2(forward[0] * way[1] - forward[1] * way[0], forward @ way)
        bend = abs(np.angle(np.exp(1j * (road[(nearest + 12) % len(road), 1] - road[nearest, 1]))))
        wanted = driver["pace"] / (1 + 1.5 * bend) - np.linalg.norm(hull.linearVelocity)
        steer = -2 * turn + driver["noise"] * rng.standard_normal()
        return np.float32([np.clip(steer, -1, 1), np.clip(wanted / 8, 0, 1), 0.8 * (wanted < -8)])


gym.register("DrivenCarRacing-v0", DrivenCarRacing, max_episode_steps=1000)


def main(steps: int) -> None:
    """Drive on six tracks, and say what that earned."""
    env, rng = gym.make("DrivenCarRacing-v0", max_episode_steps=steps), np.random.default_rng(0)
    for seed in range(6):
        env.reset(seed=seed)
        earned, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.unwrapped.scripted_action(rng))
            earned, over = earned + reward, terminated or truncated
        print(f"track {seed}: {earned:.0f} in at most {steps} steps; a lap is 1,000")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 900)
