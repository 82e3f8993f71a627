"""`worldsim/Drive-v0`: CarRacing's physics and track seen through the windscreen.

Physics, track and car are gymnasium's `CarRacing-v3`; the picture, the other cars and the reward
are ours. One action lasts five physics steps, so there are ten a second. The reward follows what
the eye can see: progress along the road, time, and bumping into cars.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d import car_racing
from worldsim.envs.camera import Ego, draw
from worldsim.envs.driver import DRAWN, STYLES, Driver
from worldsim.envs.optics import MOUNTS, Lens, Mood
from worldsim.envs.ride import Ride
from worldsim.envs.scenery import Land
from worldsim.envs.scenes import (
    CHOICES,
    TRAFFIC,
    check_options,
    check_scene,
    checked_size,
    draw_scene,
)
from worldsim.envs.traffic import Traffic

from worldsim.captions import caption
from worldsim.limits import check_choice, check_share
from worldsim.screen import Screen

PHYSICS_STEPS = 5
LAP_REWARD = 1000.0
COLLISION = 20.0
BLEND = 10  # steps over which a change of time or weather comes


class DriveEnv(gym.Env):
    """Drive a lap through a scene.

    Observation: `Box(0, 255, (h, w, 3), uint8)`. Action: `Box` of steering in [-1, 1] (left is
    negative), gas and brake in [0, 1]. Reward: metres of progress, scaled so that a lap earns
    1,000, minus 0.1 per physics step, minus 20 for hitting a car. The episode terminates under the
    gantry at the end of the lap and at the barrier round the field.

    Args:
        render_mode: "rgb_array", "human" or None.
        scene: Any of `biome`, `time`, `weather`, `traffic`, `next_biome`; the rest is drawn.
        frame_size: `(h, w)` in pixels.
        camera: "chase" or "hood".
        change_probability: Chance per step that time or weather changes on its own.
        style: Driving style of `scripted_action`; None draws one by seed.

    Raises:
        ValueError: If a scene, camera, style or size is not one there is.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 10}

    def __init__(
        self,
        render_mode: str | None = "rgb_array",
        scene: dict[str, str] | None = None,
        frame_size: tuple[int, int] = (64, 64),
        camera: str = "chase",
        change_probability: float = 0.002,
        style: str | None = None,
    ) -> None:
        check_choice("camera", camera, list(MOUNTS))
        h, w = checked_size(frame_size)
        check_choice("render_mode", render_mode, [None, *self.metadata["render_modes"]])
        self.render_mode, self.camera, self.frame_size = render_mode, camera, (h, w)
        self.given, self.change_probability = self._check_scene(scene), change_probability
        check_share(change_probability=change_probability)
        check_choice("style", style, [None, *STYLES])
        self.style = style
        self.observation_space = gym.spaces.Box(0, 255, (h, w, 3), np.uint8)
        low = np.array([-1, 0, 0], np.float32)
        self.action_space = gym.spaces.Box(low, np.ones(3, np.float32), dtype=np.float32)
        self.lens = Lens((h, w), camera)
        self.ride: Ride | None = None
        self.screen: Screen | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a lap.

        Args:
            seed: Of track, scene, traffic and driver.
            options: `scene` (partial; `next_biome: ""` is a track that stays in one), `style`.

        Raises:
            ValueError: If an option is none of these; the episode then goes on.
        """
        options = check_options(options, "scene", "style")
        given = self.given | self._check_scene(options.get("scene"))
        style = options.get("style")
        check_choice("style", style, [None, *STYLES])
        super().reset(seed=seed)
        rng = self.np_random
        self.scene = draw_scene(rng, given) | {"camera": self.camera, "simulator": "drive"}
        self.ride = self.ride or Ride()
        track_seed = int(rng.integers(2**31))
        track, kerbs = self.ride.lay_track(track_seed)
        self.land = Land(track, car_racing.TRACK_WIDTH, kerbs, self.scene, track_seed)
        self.moods: dict[tuple[str, str], Mood] = {}
        self.mood_seed, self.steps = track_seed, 0
        self.mood = self.fading = self._mood()
        self.fade = 0
        self.ride.begin(self.land, rng)
        self.traffic = Traffic(self.land, TRAFFIC[self.scene["traffic"]], rng, self.ride.arc)
        self.driver = Driver(style or self.style or DRAWN[int(rng.integers(len(DRAWN)))], rng)
        self.driver.rng = np.random.default_rng((track_seed, 4))  # asking it moves nothing else
        self.action = np.zeros(3, np.float32)
        self.contact = None
        self.caption_rng = np.random.default_rng((track_seed, 3))
        self.caption_left, self.caption = 0, ""
        return self._observe(), self._info(0.0, False)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold `action` for a tenth of a second.

        Raises:
            gymnasium.error.ResetNeeded: Before the first `reset`.
            ValueError: If the action has the wrong shape or is not finite.
        """
        self._need_reset("step")
        action = np.asarray(action, np.float32)
        if action.shape != (3,) or not np.isfinite(action).all():
            raise ValueError(
                "an action must be three finite numbers (steer, gas, brake), "
                f"got {action.tolist()} of shape {action.shape}; see env.action_space"
            )
        self.action = np.clip(action, self.action_space.low, self.action_space.high)
        self._change_scene()
        original, bumped, before = 0.0, False, (self.ride.arc, self.ride.xy)
        lapped = terminated = False
        for _ in range(PHYSICS_STEPS):
            original += self.ride.step(self.action)
            bumped |= self._move_traffic()
            lapped |= self.ride.follow()
            terminated = lapped or bool(np.abs(self.ride.xy).max() > self.land.extent - 3.5)
            if terminated:
                break
        self.steps += 1
        progress = LAP_REWARD * self.ride.gained(*before) / self.land.arc[-1]
        reward = progress - 0.1 * PHYSICS_STEPS - COLLISION * bumped
        return self._observe(), float(reward), terminated, False, self._info(original, bumped)

    def set_scene(self, scene: dict[str, str]) -> None:
        """Change time or weather of the running episode, over the next ten steps.

        Raises:
            gymnasium.error.ResetNeeded: Before the first `reset`.
            ValueError: If anything but `time` and `weather` is to change.
        """
        self._need_reset("set_scene")
        scene = check_scene(scene)
        fixed = [key for key in scene if key not in ("time", "weather")]
        if fixed:
            raise ValueError(
                f"only time and weather change in mid-episode, got {', '.join(fixed)}; "
                "pass them to `reset(options={'scene': ...})`"
            )
        self.scene = self.scene | scene
        self.fading, self.mood, self.fade = self.mood, self._mood(), BLEND
        self.caption_left = 0

    def scripted_action(self, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return the scripted driver's next action; `rng` replaces its source of noise."""
        self._need_reset("scripted_action")
        if rng is not None:
            self.driver.rng = rng
        return self.driver.act(self.land, self.traffic, self.ride.pose, self.ride.index)

    def get_keys_to_action(self) -> dict[tuple[int, ...], np.ndarray]:
        """Return pressed keys (arrows or WASD) and the actions they stand for."""
        import pygame

        arrows = (pygame.K_LEFT, pygame.K_RIGHT, pygame.K_UP, pygame.K_DOWN)
        letters = (pygame.K_a, pygame.K_d, pygame.K_w, pygame.K_s)
        keys: dict[tuple[int, ...], np.ndarray] = {}
        for left, right, up, down in (arrows, letters):
            for turn, steer in (((), 0.0), ((left,), -0.6), ((right,), 0.6)):
                for pedal, gas, brake in (((), 0.0, 0.0), ((up,), 0.3, 0.0), ((down,), 0.0, 0.8)):
                    if turn + pedal:
                        action = np.array([steer, gas, brake], np.float32)
                        keys[tuple(sorted(turn + pedal))] = action
        return keys

    def render(self) -> np.ndarray | None:
        """Return the current picture `(h, w, 3)` uint8."""
        self._need_reset("render")
        return self.picture.copy() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free physics and window; a second call does nothing."""
        if self.ride is not None:
            self.ride.close()
            self.ride = None
        if self.screen is not None:
            self.screen.close()
            self.screen = None

    def _need_reset(self, name: str) -> None:
        if self.ride is None:
            raise gym.error.ResetNeeded(f"`{name}` needs a `reset` first; call env.reset()")

    def _check_scene(self, scene: dict[str, str] | None) -> dict[str, str]:
        scene = check_scene(scene)
        if scene.get("camera", self.camera) != self.camera:
            raise ValueError(
                f"a scene's camera must be the env's, {self.camera!r}, got {scene['camera']!r}; "
                "choose it with `gym.make(..., camera=)`"
            )
        return scene

    def _move_traffic(self) -> bool:
        """Move the other cars; return whether the player has just bumped into one."""
        ride = self.ride
        self.traffic.step(1 / car_racing.FPS, ride.arc, ride.lateral, ride.speed)
        hit = self.traffic.hit(ride.xy, ride.yaw)
        fresh = hit is not None and hit != self.contact
        if hit is not None:
            ride.hull.linearVelocity = tuple(0.8 * v for v in ride.hull.linearVelocity)
            self.traffic.speed[hit] *= 0.9
        self.contact = hit
        return fresh

    def _change_scene(self) -> None:
        self.fade = max(0, self.fade - 1)
        if self.np_random.random() < self.change_probability:
            key = "time" if self.np_random.random() < 0.5 else "weather"
            others = [value for value in CHOICES[key] if value != self.scene[key]]
            self.set_scene({key: str(self.np_random.choice(others))})

    def _mood(self) -> Mood:
        key = self.scene["time"], self.scene["weather"]
        if key not in self.moods:
            self.moods[key] = Mood(self.lens, self.land, *key, self.mood_seed)
        return self.moods[key]

    def _observe(self) -> np.ndarray:
        steer, _, brake = map(float, self.action)
        ego = Ego(self.ride.xy, self.ride.yaw, steer, brake, 0.1 * self.steps)
        picture = draw(self.lens, self.mood, self.land, self.traffic, ego)
        if self.fade:
            old = draw(self.lens, self.fading, self.land, self.traffic, ego).astype(np.float32)
            share = self.fade / BLEND
            picture = (old * share + picture * (1 - share)).astype(np.uint8)
        self.picture = picture
        if self.render_mode == "human":
            self.screen = self.screen or Screen("Drive", self.metadata["render_fps"])
            self.screen.show(picture[None])
        return picture.copy()

    def _state(self) -> dict[str, float]:
        """Return the ground truth of this moment."""
        ride, (x, y), near = self.ride, self.ride.xy, 100.0
        if len(self.traffic):
            near = min(near, float(np.linalg.norm(self.traffic.xy - ride.xy, axis=1).min()))
        return {
            "speed": ride.speed,
            "offset": ride.lateral,
            "heading": ride.heading,
            "on_road": ride.on_road,
            "curvature": self.land.curvature(ride.index),
            "nearest_car": near,
            "x": float(x),
            "y": float(y),
            "yaw": float(ride.yaw),
            "progress": ride.arc / float(self.land.arc[-1]),
            "steer": float(self.action[0]),
            "gas": float(self.action[1]),
            "brake": float(self.action[2]),
            "style": float(STYLES.index(self.driver.style)),
            "biome": float(list(CHOICES["biome"]).index(self._biome())),
            "time": float(list(CHOICES["time"]).index(self.scene["time"])),
            "weather": float(list(CHOICES["weather"]).index(self.scene["weather"])),
        }

    def _biome(self) -> str:
        return self.land.biomes[int(self.land.side(self.ride.xy) > 0.5)]

    def _info(self, original: float, bumped: bool) -> dict[str, Any]:
        state = self._state()
        scene = self.scene | {"biome": self._biome()}
        other = self.land.biomes[int(self.land.side(self.ride.xy) <= 0.5)]
        scene.pop("next_biome", None)
        if other != scene["biome"]:
            scene["next_biome"] = other
        if self.caption_left <= 0 or scene["biome"] != self.told:
            self.caption = caption(scene, state, self.caption_rng)
            self.caption_left, self.told = int(self.caption_rng.integers(20, 40)), scene["biome"]
        self.caption_left -= 1
        return {
            "caption": self.caption,
            "scene": scene,
            "state": state,
            "carracing_reward": float(original),
            "collision": bool(bumped),
        }
