"""`worldsim/Drive-v0`: CarRacing's physics and track seen through the windscreen.

Physics, track and car are gymnasium's `CarRacing-v3`; the picture, the other cars and the reward
are ours. One action lasts five physics steps, so there are ten a second. The reward follows what
the eye can see: progress along the road, time, and bumping into cars.
"""

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d import car_racing
from worldsim.envs.camera import Ego, draw
from worldsim.envs.driver import DRAWN, STYLES, Driver
from worldsim.envs.optics import MOUNTS, Lens, Mood
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
from worldsim.limits import check_choice
from worldsim.screen import Screen

PHYSICS_STEPS = 5
LAP_REWARD = 1000.0
COLLISION = 20.0
BLEND = 10  # steps over which a change of time or weather comes


class _Physics(car_racing.CarRacing):
    """CarRacing without its drawing."""

    def _render(self, mode: str) -> np.ndarray:
        return np.zeros((1, 1, 3), np.uint8)


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
        check_choice("style", style, [None, *STYLES])
        self.style = style
        self.observation_space = gym.spaces.Box(0, 255, (h, w, 3), np.uint8)
        low = np.array([-1, 0, 0], np.float32)
        self.action_space = gym.spaces.Box(low, np.ones(3, np.float32), dtype=np.float32)
        self.lens = Lens((h, w), camera)
        self.physics: _Physics | None = None
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
        if self.physics is None:
            self.physics = _Physics(lap_complete_percent=0.99)
        track_seed = int(rng.integers(2**31))
        self.physics.reset(seed=track_seed)
        track = np.array(self.physics.track)[:, 2:4]
        kerb = lambda c: tuple(np.array(c).astype(int)) in ((255, 255, 255), (255, 0, 0))  # noqa: E731
        kerbs = [(quad, colour) for quad, colour in self.physics.road_poly if kerb(colour)]
        self.land = Land(track, car_racing.TRACK_WIDTH, kerbs, self.scene, track_seed)
        self.moods: dict[tuple[str, str], Mood] = {}
        self.mood_seed, self.steps = track_seed, 0
        self.mood = self.fading = self._mood()
        self.fade = 0
        self._place_car(rng)
        self.traffic = Traffic(self.land, TRAFFIC[self.scene["traffic"]], rng, self.arc)
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
        original, bumped, before, at = 0.0, False, self.arc, self.xy
        lapped = terminated = False
        for _ in range(PHYSICS_STEPS):
            _, r, _, _, _ = self.physics.step(self.action.astype(np.float64))
            original += r
            bumped |= self._move_traffic()
            lapped |= self._track_progress()
            terminated = lapped or bool(np.abs(self.xy).max() > self.land.extent - 3.5)
            if terminated:
                break
        self.steps += 1
        lap = self.land.arc[-1]
        gained = (self.arc - before + lap / 2) % lap - lap / 2
        most = 2 * np.hypot(*(self.xy - at)) + 1  # across the infield another stretch is nearest
        gained = np.clip(gained, -most, most)
        reward = LAP_REWARD * gained / lap - 0.1 * PHYSICS_STEPS - COLLISION * bumped
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
        return self.driver.act(self.land, self.traffic, self._pose(), self.index)

    def get_keys_to_action(self) -> dict[tuple[int, ...], np.ndarray]:
        """Return pressed keys (arrows or WASD) and the actions they stand for."""
        import pygame

        arrows = (pygame.K_LEFT, pygame.K_RIGHT, pygame.K_UP, pygame.K_DOWN)
        letters = (pygame.K_a, pygame.K_d, pygame.K_w, pygame.K_s)
        keys: dict[tuple[int, ...], np.ndarray] = {}
        for left, right, up, down in (arrows, letters):
            for turn, steer in (((), 0.0), ((left,), -0.6), ((right,), 0.6)):
                for pedal, gas, brake in (((), 0.0, 0.0), ((up,), 0.7, 0.0), ((down,), 0.0, 0.8)):
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
        if self.physics is not None:
            self.physics.close()
            self.physics = None
        if self.screen is not None:
            self.screen.close()
            self.screen = None

    @property
    def xy(self) -> np.ndarray:
        """Where the car is, `(2,)` metres."""
        at = self.physics.car.hull.position
        return np.array((at.x, at.y))

    def _need_reset(self, name: str) -> None:
        if self.physics is None:
            raise gym.error.ResetNeeded(f"`{name}` needs a `reset` first; call env.reset()")

    def _check_scene(self, scene: dict[str, str] | None) -> dict[str, str]:
        scene = check_scene(scene)
        if scene.get("camera", self.camera) != self.camera:
            raise ValueError(
                f"a scene's camera must be the env's, {self.camera!r}, got {scene['camera']!r}; "
                "choose it with `gym.make(..., camera=)`"
            )
        return scene

    def _place_car(self, rng: np.random.Generator) -> None:
        """Put the car somewhere on the first three quarters of the lap, sometimes at speed."""
        land = self.land
        self.index = int(rng.uniform(0.04, 0.75) * len(land.track))
        lateral, yaw = rng.uniform(-1, 5), land.heading(self.index) + rng.normal(0, 0.05)
        at = land.track[self.index] + land.right[self.index] * lateral
        world = self.physics.world
        self.physics.car.destroy()
        self.physics.car = car_racing.Car(world, float(yaw), float(at[0]), float(at[1]))
        speed = float(rng.uniform(8, 22)) if rng.random() < 0.7 else 0.0
        velocity = (-math.sin(yaw) * speed, math.cos(yaw) * speed)
        for body in (self.physics.car.hull, *self.physics.car.wheels):
            body.linearVelocity = velocity
        for wheel in self.physics.car.wheels:
            wheel.omega = speed / wheel.wheel_rad
        self.arc, self.lateral = land.offset(self.xy, self.index)

    def _move_traffic(self) -> bool:
        """Move the other cars; return whether the player has just bumped into one."""
        hull = self.physics.car.hull
        speed = float(np.hypot(*hull.linearVelocity))
        self.traffic.step(1 / car_racing.FPS, self.arc, self.lateral, speed)
        hit = self.traffic.hit(self.xy, hull.angle)
        fresh = hit is not None and hit != self.contact
        if hit is not None:
            hull.linearVelocity = tuple(0.8 * v for v in hull.linearVelocity)
            self.traffic.speed[hit] *= 0.9
        self.contact = hit
        return fresh

    def _track_progress(self) -> bool:
        """Follow the car along the track; return whether it has just passed the gantry."""
        before = self.arc
        self.index = self.land.locate(self.xy, self.index)
        self.arc, self.lateral = self.land.offset(self.xy, self.index)
        lap = self.land.arc[-1]
        return bool(before > 0.9 * lap and self.arc < 0.1 * lap and abs(self.lateral) < 15)

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
        hull = self.physics.car.hull
        steer, _, brake = map(float, self.action)
        ego = Ego(self.xy, hull.angle, steer, brake, 0.1 * self.steps)
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

    def _pose(self) -> dict[str, float]:
        hull = self.physics.car.hull
        x, y = self.xy
        speed = float(np.hypot(*hull.linearVelocity))
        return {"x": x, "y": y, "yaw": hull.angle, "speed": speed, "arc": self.arc}

    def _state(self) -> dict[str, float]:
        """Return the ground truth of this moment."""
        land, pose = self.land, self._pose()
        heading = (pose["yaw"] - land.heading(self.index) + math.pi) % (2 * math.pi) - math.pi
        near = 100.0
        if len(self.traffic):
            near = min(near, float(np.linalg.norm(self.traffic.xy - self.xy, axis=1).min()))
        wheels = self.physics.car.wheels
        styles = {style: float(i) for i, style in enumerate(STYLES)}
        return {
            "speed": pose["speed"],
            "offset": self.lateral,
            "heading": heading,
            "on_road": sum(self._wheel_on_road(w) for w in wheels) / len(wheels),
            "curvature": land.curvature(self.index),
            "nearest_car": near,
            "x": float(pose["x"]),
            "y": float(pose["y"]),
            "yaw": float(pose["yaw"]),
            "progress": self.arc / float(land.arc[-1]),
            "steer": float(self.action[0]),
            "gas": float(self.action[1]),
            "brake": float(self.action[2]),
            "style": styles[self.driver.style],
            "biome": float(list(CHOICES["biome"]).index(self._biome())),
            "time": float(list(CHOICES["time"]).index(self.scene["time"])),
            "weather": float(list(CHOICES["weather"]).index(self.scene["weather"])),
        }

    def _wheel_on_road(self, wheel: Any) -> bool:
        gap = (wheel.position.x, wheel.position.y) - self.land.track[self.index]
        return abs(float(gap @ self.land.right[self.index])) < self.land.half_width

    def _biome(self) -> str:
        return self.land.biomes[int(self.land.side(self.xy) > 0.5)]

    def _info(self, original: float, bumped: bool) -> dict[str, Any]:
        state = self._state()
        scene = self.scene | {"biome": self._biome()}
        other = self.land.biomes[int(self.land.side(self.xy) <= 0.5)]
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
