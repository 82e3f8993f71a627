"""A session of play: its commands, its time and its films.

`Session` is plain and sequential: `tick` moves time, the other methods are the commands that a
person can give. It knows no window and no thread.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium

from worldsim.film import Film
from worldsim.stage import Stage

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
LAST_LOOK = 0.8  # seconds that the last frame of an episode stays


class Session:
    """Play one stage, or two in turns: an imagined world and its real simulator.

    Args:
        open_stage: Makes the stage; called by `start`, for it can take seconds.
        seed: Of the first episode; each new start takes the next one.
        autopilot: Whether the autopilot drives at first.
        fps: Frames per second; None takes the env's own.
        out: Where films go; a number is added to the name if a file is there.
    """

    def __init__(
        self,
        open_stage: Callable[[], Stage],
        *,
        seed: int = 0,
        autopilot: bool = False,
        fps: float | None = None,
        out: str | Path = "out/play.mp4",
    ) -> None:
        self.open_stage, self.seed, self.autopilot, self.out = (
            open_stage,
            seed,
            autopilot,
            Path(out),
        )
        self.stage: Stage | None = None
        self.film: Film | None = None
        self.films: list[Path] = []
        self.notices: deque[str] = deque(maxlen=8)
        self.paused = self.rewinding = False
        self.speed = 1.0
        self._fps, self._twin, self._single = fps, None, False
        self._options: dict[str, Any] | None = None

    @property
    def fps(self) -> float:
        """Frames per second at normal speed."""
        return self._fps or self.stage.fps

    @property
    def idle(self) -> bool:
        """Whether time stands still."""
        return self.paused and not self.rewinding and not self._single

    @property
    def period(self) -> float:
        """Seconds until the next tick is due."""
        period = 1 / (self.fps * self.speed)
        return max(period, LAST_LOOK) if self.stage.moment.ended else period

    def start(self) -> None:
        """Make the stage and begin the first episode."""
        self.stage = self.open_stage()
        self.stage.reset(self.seed)

    def tick(self, keys: tuple[int, ...] = ()) -> None:
        """Move on by one frame, or back while rewinding; a finished episode gives way to the next.

        Args:
            keys: Keys held down, in the order in which they were pressed.
        """
        self._single = False
        if self.rewinding:
            if not self.stage.rewind():
                return
        elif self.stage.moment.ended:
            self.next_start()
        else:
            self.stage.step(keys, self.autopilot)
        self._shoot()

    def pause(self) -> None:
        """Stop time, or let it go on."""
        self.paused = not self.paused

    def single_step(self) -> None:
        """Pause and take one step."""
        self.paused = self._single = True

    def rewind(self, on: bool) -> None:
        """Begin or end going back in time."""
        able = self.stage.offers("snapshot", "restore")
        if on and not able:
            self.notices.append(f"{self.stage.title} cannot go back in time")
        self.rewinding = on and able

    def change_speed(self, by: int) -> None:
        """Go to a slower (-1) or faster (1) motion."""
        at = SPEEDS.index(self.speed) + by
        self.speed = SPEEDS[min(max(at, 0), len(SPEEDS) - 1)]

    def restart(self) -> None:
        """Begin this episode again."""
        self.stage.reset(self.stage.moment.seed, self._options)

    def next_start(self) -> None:
        """Begin another episode."""
        self.stage.reset(self.stage.moment.seed + 1, self._options)

    def set_prompt(self, prompt: str) -> None:
        """Change the prompt while the episode goes on."""
        if not self.stage.offers("set_prompt"):
            self.notices.append("prompts change imagined worlds; this is the real simulator")
            return
        with self._excused("the prompt was not understood"):
            self.stage.set_prompt(prompt)

    def begin(self, prompt: str) -> None:
        """Begin an episode from a prompt alone; an empty one brings the recorded starts back."""
        if not self.stage.offers("set_prompt"):
            self.set_prompt(prompt)
            return
        before, self._options = self._options, {"prompt": prompt} if prompt else None
        with self._excused("the prompt was not understood"):
            self.restart()
            return
        self._options = before  # only an error leads here
        self.restart()

    def choose_prompt(self, number: int) -> None:
        """Set one of the world's example prompts."""
        if number < len(self.stage.prompts):
            self.set_prompt(self.stage.prompts[number])

    def toggle_autopilot(self) -> None:
        """Let the autopilot drive whenever no key is held, or stop it."""
        self.autopilot = not self.autopilot
        if self.autopilot and not (
            self.stage.offers("autopilot_action") or self.stage.offers("scripted_action")
        ):
            self.notices.append("no autopilot here: it acts at random")

    def switch(self) -> None:
        """Change between the imagined world and the real simulator it learned from."""
        if self._twin is None:
            cfg = getattr(getattr(self.stage.env.unwrapped, "world", None), "cfg", None)
            env_id, kwargs = getattr(cfg, "env_id", ""), getattr(cfg, "env_kwargs", {})
            if not env_id:
                self.notices.append("there is only this one simulator here")
                return
            with self._excused(f"{env_id} does not start"):
                kwargs = {"render_mode": "rgb_array", "disable_env_checker": True, **kwargs}
                twin = Stage(gymnasium.make(env_id, **kwargs), env_id)
                twin.reset(self.stage.moment.seed)
                self._twin = twin
        if self._twin is not None:
            self.stage, self._twin = self._twin, self.stage

    def record(self, strip: bool = True) -> None:
        """Begin a film, or finish the one that is running.

        Args:
            strip: Whether to draw prompt, return and controls below the frames.
        """
        if self.film is not None:
            self.finish_film()
            return
        with self._excused("no film"):
            self.film = Film(free_path(self.out), self.stage, self.fps, strip)
            self._shoot()

    def finish_film(self) -> None:
        """Write the end of the film that is running, if there is one."""
        film, self.film = self.film, None
        if film is not None:
            film.close()
            self.films.append(film.path)
            self.notices.append(f"{film.seconds:.1f} s of film in {film.path}")

    def close(self) -> None:
        """Finish the film and close the envs."""
        try:
            self.finish_film()
        finally:
            for stage in (self.stage, self._twin):
                if stage is not None:
                    stage.env.close()

    def _shoot(self) -> None:
        if self.film is not None:
            self.film.write(self.stage)

    @contextmanager
    def _excused(self, what: str) -> Iterator[None]:
        """Turn an error into a notice, where the session can go on without what failed."""
        try:
            yield
        except Exception as error:
            self.notices.append(f"{what}: {error}")


def free_path(path: Path) -> Path:
    """Return `path`, or if a file is there the first free `name-2.mp4`, `name-3.mp4`, ..."""
    numbered = (path.with_stem(f"{path.stem}-{i}") for i in itertools.count(2))
    return next(p for p in itertools.chain([path], numbered) if not p.exists())
