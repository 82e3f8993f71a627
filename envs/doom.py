"""`worldsim/Doom-v0`: small games in Doom's engine, each in many looks.

Maps and engine are ViZDoom's with Freedoom's pictures; textures, light, monsters, rules and reward
are ours. One action lasts four of Doom's 35 tics a second. What earns or ends an episode shows:
health and ammunition are bars below the view, a hit reddens the picture.
"""

from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from worldsim.envs.doom_captions import event
from worldsim.envs.doom_drivers import MOVES, NAMES, SHOOT, TURN, Player, Sight
from worldsim.envs.doom_game import RESOLUTIONS, TICS, import_vizdoom, start_game
from worldsim.envs.doom_maps import map_name, outline
from worldsim.envs.doom_rules import air_item
from worldsim.envs.doom_scenes import AIRS, CHOICES, SCENARIOS, check_scene, draw_scene
from worldsim.envs.doom_truth import in_view, is_coming, numbers, read_sight, read_truth
from worldsim.envs.scenes import check_options, checked_size

from worldsim.captions import caption
from worldsim.limits import check_choice, check_share
from worldsim.screen import Screen

AMMO = 50  # what fills the bar
KILL, GOAL, DEATH, HEALTH = 5.0, 10.0, 10.0, 0.1
# forward, back, left, right, degrees turned clockwise: of each of `MOVES`
BUTTONS = (
    (0, 0, 0, 0, 0), (1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 0, 0, -TURN), (0, 0, 0, 0, TURN),
    (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (1, 0, 0, 0, -TURN), (1, 0, 0, 0, TURN),
)  # fmt: skip
BAR_COLOURS = (((210, 40, 40), (70, 16, 16)), ((230, 190, 40), (66, 54, 14)))  # full, empty
# colour and strength of what the picture shows at once; the last that holds wins
FLASHES = {
    "pickup": ((255, 210, 80), 0.25), "hit": ((230, 20, 10), 0.3), "goal": ((255, 240, 180), 0.7),
    "dead": ((150, 0, 0), 0.75),
}  # fmt: skip


class DoomEnv(gym.Env):
    """Live, explore and fight in a scene.

    Observation: `Box(0, 255, (h, w, 3), uint8)`. Action: `Discrete(18)`, the nine `MOVES` without
    and with firing. Reward: a tenth of the health gained or lost, 5 for a kill, 10 for the armour
    at the end of `my_way_home`, -10 for dying, and what the scenario pays for a step. The episode
    terminates when health or the way is at its end.

    Args:
        render_mode: "rgb_array", "human" or None.
        scene: Any of `scenario`, `theme`, `monster`, `air`; the rest is drawn.
        frame_size: `(h, w)` in pixels.
        change_probability: Chance per step that the air changes on its own.

    Raises:
        ImportError: If the package vizdoom is missing.
        ValueError: If a scene or size is not one there is.
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": 9}

    def __init__(
        self,
        render_mode: str | None = "rgb_array",
        scene: dict[str, str] | None = None,
        frame_size: tuple[int, int] = (64, 64),
        change_probability: float = 0.002,
    ) -> None:
        h, w = checked_size(frame_size)
        check_choice("render_mode", render_mode, [None, *self.metadata["render_modes"]])
        check_share(change_probability=change_probability)
        import_vizdoom()
        self.render_mode, self.frame_size = render_mode, (h, w)
        self.given, self.change_probability = check_scene(scene), change_probability
        self.observation_space = gym.spaces.Box(0, 255, (h, w, 3), np.uint8)
        self.action_space = gym.spaces.Discrete(2 * len(MOVES))
        self.bar = max(3, round(h / 13))
        self.resolution, self.crop = _lens(h - self.bar, w)
        self.game: Any = None
        self.screen: Screen | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a game.

        Args:
            seed: Of scene, places, foes and player.
            options: `scene` (partial).

        Raises:
            ValueError: If there is another option; the episode then goes on.
        """
        options = check_options(options, "scene")
        given = self.given | check_scene(options.get("scene"))
        super().reset(seed=seed)
        rng = self.np_random
        self.scene = draw_scene(rng, given) | {"simulator": "doom"}
        level = map_name(self.scene)
        if self.game is not None and not self.game.is_running():  # its process was killed
            self.game.close()
            self.game = None
        if self.game is None:
            self.game = start_game(self.resolution, level)
        self.game.set_doom_map(level)
        self.game.set_seed(int(rng.integers(2**31)))
        self.game.new_episode()
        self.game.send_game_command(f"give Begin_{self.scene['scenario']}")
        self._set_air()
        self.walls, self.spots = outline(self.scene["scenario"])
        self.player = Player(self.scene["scenario"], np.random.default_rng(rng.integers(2**31)))
        self.caption_rng = np.random.default_rng(rng.integers(2**31))
        self.caption_left, self.caption_span, self.told = 0, 0, ""
        self.game.make_action([0] * 6, 24)  # until the gun is up
        self.action, self.truth = 0, None
        self._look()
        return self.picture.copy(), self._info()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold `action` for four tics.

        Raises:
            gymnasium.error.ResetNeeded: Before the first `reset`.
            ValueError: If the action is none of the 18.
        """
        self._need_reset("step")
        if not self.action_space.contains(action):
            raise ValueError(
                f"an action must be a whole number from 0 to {self.action_space.n - 1}, "
                f"got {action!r}; see env.action_space"
            )
        self.action = int(action)
        if self.np_random.random() < self.change_probability:
            others = [air for air in AIRS if air != self.scene["air"]]
            self.set_scene({"air": str(self.np_random.choice(others))})
        *buttons, turn = BUTTONS[self.action % SHOOT]
        try:
            self.game.make_action([*buttons, turn / TICS, self.action // SHOOT], TICS)
        except Exception:
            self._need_reset("step")  # if its process was killed
            raise
        self._look()
        truth = self.truth
        terminated = bool(truth["dead"] or truth["goal"])
        reward = SCENARIOS[self.scene["scenario"]].living + HEALTH * truth["health_change"]
        reward += KILL * truth["killed"] + GOAL * truth["goal"] - DEATH * truth["dead"]
        return self.picture.copy(), float(reward), terminated, False, self._info()

    def set_scene(self, scene: dict[str, str]) -> None:
        """Change the air of the running game: fog, darkness, red light, or the theme's own.

        The engine changes them at once, between two tics. Walls, sky, monsters and scenario belong
        to the map, which it loads at the beginning of a game only.

        Raises:
            gymnasium.error.ResetNeeded: Before the first `reset`.
            ValueError: If anything but `air` is to change.
        """
        self._need_reset("set_scene")
        scene = check_scene(scene)
        fixed = [key for key in scene if key != "air"]
        if fixed:
            raise ValueError(
                f"only the air changes in mid-episode, got {', '.join(fixed)}; "
                "pass them to `reset(options={'scene': ...})`"
            )
        self.scene = self.scene | scene
        self._set_air()
        self.caption_left = 0

    def scripted_action(self, rng: np.random.Generator | None = None) -> int:
        """Return the scripted player's next action; `rng` replaces its source of noise."""
        self._need_reset("scripted_action")
        if rng is not None:
            self.player.rng = rng
        return self.player.act(self._sight())

    def get_keys_to_action(self) -> dict[tuple[int, ...], int]:
        """Return pressed keys (arrows, or WASD with Q and E to turn; space fires) and actions."""
        import pygame as pg

        up, down, left, right = (pg.K_UP, pg.K_w), (pg.K_DOWN, pg.K_s), pg.K_LEFT, pg.K_RIGHT
        moves = {1: [(k,) for k in up], 2: [(k,) for k in down]}
        moves |= {3: [(left,), (pg.K_q,)], 4: [(right,), (pg.K_e,)]}
        moves |= {5: [(pg.K_a,)], 6: [(pg.K_d,)]}
        moves |= {7: [f + t for f in moves[1] for t in moves[3]]}
        moves |= {8: [f + t for f in moves[1] for t in moves[4]]}
        keys = {tuple(sorted(c)): move for move, combos in moves.items() for c in combos}
        firing = {tuple(sorted((*c, pg.K_SPACE))): move + SHOOT for c, move in keys.items()}
        return keys | firing | {(pg.K_SPACE,): SHOOT}

    def render(self) -> np.ndarray | None:
        """Return the current picture `(h, w, 3)` uint8."""
        self._need_reset("render")
        return self.picture.copy() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """End the game's process and close the window; a second call does nothing."""
        if self.game is not None:
            self.game.close()
            self.game = None
        if self.screen is not None:
            self.screen.close()
            self.screen = None

    def _need_reset(self, name: str) -> None:
        if self.game is None:
            raise gym.error.ResetNeeded(f"`{name}` needs a `reset` first; call env.reset()")
        if not self.game.is_running():
            raise gym.error.ResetNeeded("the game's process has ended; call env.reset()")

    def _set_air(self) -> None:
        self.game.send_game_command(f"give {air_item(self.scene['theme'], self.scene['air'])}")

    def _look(self) -> None:
        """Take the engine's state: the picture, and the truth that it shows."""
        self.state = self.game.get_state()
        self.truth = truth = read_truth(self.state, self.truth)
        x, y, width, height = self.crop
        h, w = self.frame_size
        view = self.state.screen_buffer[y : y + height, x : x + width]
        view = cv2.resize(view, (w, h - self.bar), interpolation=cv2.INTER_AREA)
        self.picture = np.empty((h, w, 3), np.uint8)
        self.picture[: h - self.bar] = view
        for name, (colour, share) in FLASHES.items():
            if truth[name]:
                flash = np.round((1 - share) * view + share * np.array(colour))
                self.picture[: h - self.bar] = flash
        shares = truth["HEALTH"] / 100, truth["SELECTED_WEAPON_AMMO"] / AMMO
        _draw_bars(self.picture[h - self.bar :], shares)
        if self.render_mode == "human":
            self.screen = self.screen or Screen("Doom", self.metadata["render_fps"])
            self.screen.show(self.picture[None])

    def _sight(self) -> Sight:
        return read_sight(self.state, self.truth, self.walls, self.spots)

    def _info(self) -> dict[str, Any]:
        h, w = self.frame_size
        labels, sight = in_view(self.state, self.crop, (h - self.bar, w)), self._sight()
        state = numbers(self.truth, sight, labels) | {
            "action": float(self.action),
            "whim": float(NAMES.index(self.player.whim)),
            **{key: float(values.index(self.scene[key])) for key, values in CHOICES.items()},
        }
        told = state | {"coming": is_coming(sight, labels)}
        happens = event(told)
        self.caption_left -= 1
        fresh = happens not in ("", self.told) and self.caption_left < self.caption_span - 8
        if self.caption_left <= 0 or fresh:
            self.caption = caption(self.scene, told, self.caption_rng)
            self.caption_left = self.caption_span = int(self.caption_rng.integers(20, 40))
            self.told = happens
        return {
            "caption": self.caption,
            "scene": dict(self.scene),
            "state": state,
            "labels": labels,
        }


def _lens(h: int, w: int) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """Return the smallest of the engine's pictures that is enough, and what to cut from it.

    Things keep their proportions, so the picture is cut to the view's; it is enough if it has two
    pixels for each of the view's, or is the largest.
    """
    for width, height in RESOLUTIONS:
        scale = min(width / w, height / h)
        if scale >= 2:
            break
    across, down = round(w * scale), round(h * scale)
    return (width, height), ((width - across) // 2, (height - down) // 2, across, down)


def _draw_bars(strip: np.ndarray, shares: tuple[float, float]) -> None:
    """Draw health on the left and ammunition on the right; an edge may fill a part of a pixel."""
    h, w = strip.shape[:2]
    strip[:] = 16
    length = w // 2 - 2
    for k, (share, (full, empty)) in enumerate(zip(shares, BAR_COLOURS, strict=True)):
        fill = np.clip(share * length - np.arange(length), 0, 1)[:, None]
        left = 1 if k == 0 else w - 1 - length
        strip[1 : h - 1, left : left + length] = np.round(
            fill * np.array(full) + (1 - fill) * np.array(empty)
        )
