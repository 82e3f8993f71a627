"""A session of play: its commands, its time, and what it keeps.

`Session` is plain and sequential: `tick` moves time, the other methods are the commands that a
person can give. It knows no window and no thread.
"""

import re
from collections.abc import Callable
from pathlib import Path

from worldsim.limits import check_choice
from worldsim.spaces import afresh
from worldsim.viewing.beginning import Beginning
from worldsim.viewing.film import Film
from worldsim.viewing.pilots import DRIVERS, Hands, Policy, load_pilot
from worldsim.viewing.scene import Futures, Pane, Scene
from worldsim.viewing.slots import read_slot, write_slot
from worldsim.viewing.stage import ASTRAY, Stage

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
LAST_LOOK = 2.0  # seconds that the last frame of an episode stays: to keep it, or to go back
SLOTS = 4


class Session(Beginning):
    """Play a scene: one stage, an imagined world beside its real simulator, or several futures.

    Args:
        open_stage: Makes the stage; called by `start`, for it can take seconds.
        seed: Of the first episode; each new start takes the next one.
        autopilot: Whether the autopilot drives at first.
        fps: Frames per second; None takes the env's own.
        out: Where films go; a number is added to the name if a file is there. Slots, pictures and
            kept episodes go beside it.
        agent: An agent that can drive too, see `pilots.load_pilot`.
        prompt: What episodes begin with until another is asked for.
        nothing: Whether a prompt begins from nothing, rather than from the recorded start that
            shows most of it.
    """

    def __init__(
        self,
        open_stage: Callable[[], Stage],
        *,
        seed: int = 0,
        autopilot: bool = False,
        fps: float | None = None,
        out: str | Path = "out/play.mp4",
        agent: str | Policy | None = None,
        prompt: str | None = None,
        nothing: bool = False,
    ) -> None:
        super().__init__(prompt, nothing)
        self.open_stage, self.seed, self.out = open_stage, seed, Path(out)
        self.driver = "autopilot" if autopilot else "human"
        self.agent, self.pilot = agent, None
        self.film: Film | None = None
        self.films: list[Path] = []
        self.paused = self.rewinding = self.resting = False
        self.speed, self.slot = 1.0, 1
        self._fps, self._single = fps, False
        self._flown: Stage | None = None  # where the agent has acted since it was last new

    @property
    def fps(self) -> float:
        """Frames per second at normal speed."""
        return self._fps or self.stage.fps

    @property
    def idle(self) -> bool:
        """Whether time stands still: futures stay where the one in focus has ended."""
        if self.resting or self.gallery is not None:
            return True
        over = self.stage.moment.ended and isinstance(self.scene, Futures)
        return (self.paused or over) and not self.rewinding and not self._single

    @property
    def period(self) -> float:
        """Seconds until the next tick is due."""
        period = 1 / (self.fps * self.speed)
        ended = self.stage.moment.ended and not self.rewinding
        return max(period, LAST_LOOK) if ended else period

    def start(self) -> None:
        """Make the stage, load the agent and begin the first episode.

        Raises:
            ValueError: If there is a prompt, and the env takes none.
        """
        stage = self.open_stage()
        self.scene = Scene([Pane(stage)])
        if self.prompt and not stage.offers("set_prompt"):
            raise ValueError(
                f"`prompt` is for imagined worlds, got {self.prompt!r} for {stage.title}, which "
                "has no `set_prompt`; leave it out, or play a world"
            )
        if self.agent is not None:
            self.pilot, self.driver = load_pilot(self.agent), "agent"
        self._options = self._wish(self.prompt)
        stage.reset(self.seed, self._options)

    def tick(self, keys: tuple[int, ...] = (), axes: tuple[tuple[str, float], ...] = ()) -> None:
        """Move on by one frame, or back while rewinding; a finished episode gives way to the next.

        Args:
            keys: Keys held down, in the order in which they were pressed.
            axes: Deflections of sticks and mouse, by name.
        """
        self._single = False
        if self.rewinding:
            if not self.scene.rewind():
                return
        elif self.stage.moment.ended:
            self.next_start()
        else:
            if self.pilot and (self.stage is not self._flown or not self.stage.moment.step):
                self.pilot, self._flown = afresh(self.pilot), self.stage
            self.scene.step(Hands(keys, axes), self.driver, self.pilot)
        self._shoot()

    # time

    def pause(self) -> None:
        """Stop time, or let it go on."""
        self.paused = not self.paused

    def rest(self, on: bool) -> None:
        """Let time stand still while nobody watches, paused or not."""
        self.resting = on

    def single_step(self) -> None:
        """Pause and take one step."""
        self.paused = self._single = True

    def rewind(self, on: bool) -> None:
        """Begin or end going back in time."""
        if self.rewinding and not on:
            alike = [stage.settle() for stage in self.scene.stages]
            if not all(alike):
                self.notices.append(ASTRAY)
            self._flown = None
        self.rewinding = on

    def change_speed(self, by: int) -> None:
        """Go to a slower (-1) or faster (1) motion."""
        at = SPEEDS.index(self.speed) + by
        self.speed = SPEEDS[min(max(at, 0), len(SPEEDS) - 1)]

    def restart(self) -> None:
        """Begin this episode again; futures go back to where they parted."""
        self._flown = None
        self.scene.restart()

    def next_start(self) -> None:
        """Begin another episode."""
        self._flown = None
        options = self._options if self.stage.offers("set_prompt") else None
        self.scene.begin(self.stage.moment.seed + 1, options)

    def save_slot(self) -> None:
        """Write the present moment of the stage in focus to disk."""
        with self._excused("not saved"):
            write_slot(self._slot_path(), self.stage)
            self.notices.append(f"saved in slot {self.slot}: {self._slot_path()}")

    def load_slot(self) -> None:
        """Go to the moment that lies in the slot."""
        with self._excused("not loaded"):
            alike = read_slot(self._slot_path(), self.stage)
            self._flown = None
            self._be_alone()
            self.notices.append(f"slot {self.slot}")
            if not alike:
                self.notices.append(ASTRAY)

    def next_slot(self) -> None:
        """Choose another slot."""
        self.slot = self.slot % SLOTS + 1
        used = "used" if self._slot_path().exists() else "empty"
        self.notices.append(f"slot {self.slot} of {SLOTS}, {used}")

    def _slot_path(self) -> Path:
        return self.out.parent / "slots" / f"{_plain(self.stage.title)}-{self.slot}.safetensors"

    # drivers

    def next_driver(self) -> None:
        """Let somebody else drive: you, the autopilot, the agent if there is one."""
        there = DRIVERS if self.pilot else DRIVERS[:2]
        self.drive(there[(there.index(self.driver) + 1) % len(there)])

    def drive(self, driver: str) -> None:
        """Say who drives, one of `pilots.DRIVERS`."""
        check_choice("driver", driver, DRIVERS)
        if driver == "agent" and self.pilot is None:
            self.notices.append("no agent here; play with agent=model.zip or agent=module:function")
            return
        self.driver = driver
        offered = ("autopilot_action", "scripted_action", "recorded_action")
        if driver == "autopilot" and not any(map(self.stage.offers, offered)):
            self.notices.append("no autopilot here: it acts at random")

    # what is kept

    def record(self, strip: bool = True) -> None:
        """Begin a film, or finish the one that is running.

        Args:
            strip: Whether to draw prompt, return and controls below the frames.
        """
        if self.film is not None:
            self.finish_film()
            return
        with self._excused("no film"):
            self.film = Film(self.out, self.stage, self.fps, strip, numbered=True)
            self._shoot()

    def finish_film(self) -> None:
        """Write the end of the film that is running, if there is one."""
        film, self.film = self.film, None
        if film is not None:
            film.close()
            self.films.append(film.path)
            self.notices.append(f"{film.seconds:.1f} s of film in {film.path}")

    def keep_episode(self) -> None:
        """Add the episode in focus, as far as it was played, to a data set beside the films."""
        with self._excused("the episode was not kept"):
            from worldsim.viewing.keeping import keep_episode  # PyArrow takes a while

            path = self.out.parent / f"{_plain(self.stage.title)}-episodes"
            steps, count = keep_episode(path, self.stage)
            self.notices.append(f"{steps} steps kept as episode {count - 1} of {path}")

    def close(self) -> None:
        """Finish the film and close the envs."""
        try:
            self.finish_film()
        finally:
            stages = self.scene.stages if self.scene else []
            for stage in (*stages, *self._spares, self._twin):
                if stage is not None:
                    stage.env.close()

    def _shoot(self) -> None:
        if self.film is not None:
            self.film.write(self.stage, self.view())


def _plain(title: str) -> str:
    """Turn a title into the name of a file."""
    return re.sub(r"[^\w.-]+", "-", title.split("/")[-1])
