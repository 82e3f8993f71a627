"""Any env, in the size and at the pace that a world of it has.

The observation becomes a frame: the env's own where that is a picture, else what it renders. As
`worldsim/Filmed-v0` the same can be rebuilt from plain data wherever the recorded env is wanted
again, as by the viewer and by measures that replay a recording.
"""

import inspect
import math
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import gymnasium
import numpy as np
from gymnasium import Env, spaces

from worldsim.images import frame_of
from worldsim.limits import check_counts, check_size

ENV_ID = "worldsim/Filmed-v0"
STRIDE = 16  # pixels that a token covers: a cell of 4, patches of 4
EXTRAS = {"ALE": ("ale_py", "atari")}  # namespaces of envs, what registers them, our extra


class Filmed(gymnasium.Wrapper):
    """An env whose observations are frames.

    Args:
        env: Made with `render_mode="rgb_array"`, with whatever wrappers.
        frame_size: `(h, w)` of the frames; None leaves them as they are.
        repeat: Steps of the env per action; rewards add up.

    Attributes:
        observed: The env's own latest observation, which a policy may need.
    """

    def __init__(self, env: Env, frame_size: tuple[int, int] | None = None, repeat: int = 1):
        super().__init__(env)
        check_counts(repeat=repeat)
        if frame_size is not None:
            check_size("frame_size", frame_size)
        own = frame_of(env, env.reset()[0]).shape[:2] if frame_size is None else frame_size
        self.frame_size = tuple(own)
        self.repeat, self.observed = repeat, None
        self.observation_space = spaces.Box(0, 255, (*self.frame_size, 3), np.uint8)
        fps = env.metadata.get("render_fps") or 30
        self.metadata = env.metadata | {"render_fps": max(1, round(fps / repeat))}

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        self.observed, info = self.env.reset(**kwargs)
        return self.render(), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take `repeat` steps, fewer if the episode ends."""
        total = 0.0
        for _ in range(self.repeat):
            self.observed, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return self.render(), total, terminated, truncated, info

    def render(self) -> np.ndarray:
        """Return the current frame `(h, w, 3)` uint8."""
        frame = frame_of(self.env, self.observed)
        if frame.shape[:2] == self.frame_size:
            return frame
        return cv2.resize(frame, self.frame_size[::-1], interpolation=cv2.INTER_AREA)


def open_filmed(
    env: str,
    frame_size: tuple[int, int] | None = None,
    repeat: int = 1,
    render_mode: str | None = "rgb_array",
    **env_kwargs: Any,
) -> Filmed:
    """Make `env` and film it; the entry point of `worldsim/Filmed-v0`.

    Args:
        env: An id for `gymnasium.make`, or `module:function` that makes an env.
        frame_size: `(h, w)` of the frames; None leaves them as they are. An env that takes a
            `frame_size` draws it itself, the frames of others are resized.
        repeat: Steps of the env per action.
        render_mode: Frames are arrays in any case.
        **env_kwargs: Given on to the env.
    """
    made = open_env(env, **env_kwargs)
    maker = load_function(env, "env") if names_function(env) else type(made.unwrapped)
    if frame_size is not None and "frame_size" in inspect.signature(maker).parameters:
        made.close()
        made = open_env(env, **env_kwargs | {"frame_size": tuple(frame_size)})
    return Filmed(made, frame_size, repeat)


def open_env(name: str, /, **env_kwargs: Any) -> Env:
    """Make an env that renders arrays.

    Args:
        name: An id for `gymnasium.make`, with or without the module that registers it
            (`module:Game-v0`), or `module:function` that makes an env.
        **env_kwargs: For the one or the other.

    Raises:
        ImportError: If the env's package is not installed.
        gymnasium.error.Error: If there is no such env.
        TypeError: If the function makes something else.
    """
    if not names_function(name):
        package, extra = EXTRAS.get(name.split("/")[0], (None, None))
        if package:
            try:
                import_module(package)
            except ImportError as error:
                raise ImportError(
                    f"{name} needs {package}: `pip install worldsim-sdk[{extra}]`"
                ) from error
        kwargs = {"render_mode": "rgb_array", "disable_env_checker": True} | env_kwargs
        _look_here()
        return gymnasium.make(name, **kwargs)
    maker = load_function(name, "env")
    if "render_mode" in inspect.signature(maker).parameters:
        env_kwargs = {"render_mode": "rgb_array"} | env_kwargs
    env = maker(**env_kwargs)
    if not isinstance(env, Env):
        raise TypeError(
            f"`env={name}` must make a gymnasium.Env, got {type(env).__name__}; return the env"
        )
    return env


def reopen_env(name: str, env_kwargs: dict[str, Any]) -> Env:
    """Make the env that a world or a data set says it was recorded in.

    Those may be somebody else's, and a name can stand for any function of any module. So it is
    called only if it is the class of an env, or lies in a module of the working directory.

    Raises:
        ValueError: If it is neither.
        ImportError, gymnasium.error.Error, TypeError: As `open_env` does.
    """
    real = str(env_kwargs.get("env", "")) if name == ENV_ID else name
    if names_function(real):
        maker, module = load_function(real, "env"), sys.modules[real.partition(":")[0]]
        is_env = isinstance(maker, type) and issubclass(maker, Env)
        place = Path(getattr(module, "__file__", None) or "/").resolve()
        ours = Path.cwd() in place.parents and "site-packages" not in place.parts
        if not is_env and not (ours and maker.__module__ == module.__name__):
            raise ValueError(
                "an env that a file names must be an id, the class of an env, or a function of a "
                f"module in the working folder, got {real!r}; run the command where its module "
                "lies, or register an id for it"
            )
    return open_env(name, **env_kwargs)


def open_any(env: str | Env | Callable[[], Env], **env_kwargs: Any) -> Env:
    """Return an env, made by `open_env` if it is a name, or by a callable; one that is there as is.

    Raises:
        TypeError: If it is no env and makes none.
    """
    if isinstance(env, str):
        return open_env(env, **env_kwargs)
    made = env() if callable(env) else env
    if not isinstance(made, Env):
        raise TypeError(
            f"`env` must be an id, a gymnasium.Env or a callable that makes one, got {made!r}"
        )
    return made


def names_function(name: str) -> bool:
    """Return whether a name is `module:function`, not an id such as `module:Game-v0`."""
    return name not in gymnasium.registry and name.partition(":")[2].isidentifier()


def load_function(name: str, role: str) -> Callable:
    """Import `module:function`, also from the working directory, as `python -m` would.

    Raises:
        ValueError: If there is none of this name.
    """
    module, _, function = name.partition(":")
    _look_here()
    found = None
    try:
        if all(part.isidentifier() for part in module.split(".")):
            found = getattr(import_module(module), function, None)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):  # it is there, what it imports is not
            raise
    if not callable(found):
        raise ValueError(
            f"`{role}` must be module:function, got {name!r}, which is not there; run the command "
            "where the module lies, or install it"
        )
    return found


def _look_here() -> None:
    if "" not in sys.path:
        sys.path.insert(0, "")  # for good: a function may import when it is called


def choose_size(native: tuple[int, int], most_pixels: int) -> tuple[int, int]:
    """Choose the `(h, w)` of a world's frames: small, of about the shape of `native` `(h, w)`.

    What counts is the scale of the axis that is squeezed most; within a tenth of the best, fewer
    pixels win, where being 6 % off the native shape weighs as much as a quarter more of them.
    """
    sides = range(STRIDE, 16 * STRIDE + 1, STRIDE)
    scales = {
        (h, w): min(1.0, h / native[0], w / native[1])
        for h in sides for w in sides if h * w <= most_pixels
    }  # fmt: skip
    best = max(scales.values())
    fine = [size for size, scale in scales.items() if scale >= 0.9 * best]
    bent = lambda h, w: abs(math.log(h / w * native[1] / native[0]))  # noqa: E731
    return min(fine, key=lambda size: (math.prod(size) * math.exp(4 * bent(*size)), size))
