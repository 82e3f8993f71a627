"""Which stages are on the screen: the imagined world, its real simulator, futures of a moment."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from worldsim.filmed import reopen_env
from worldsim.viewing.scene import DIFFERENCES, Comparison, Futures, Pane, Scene, View, imagine_on
from worldsim.viewing.stage import ASTRAY, Stage

MOST_FUTURES = 4


class Casting:
    """Puts stages on the screen and takes them off again; the part of a `Session` that does.

    Attributes:
        scene: What is on the screen; None before the session has started.
        difference: What futures differ in, one of `scene.DIFFERENCES`.
        notices: What a person should be told.
    """

    def __init__(self) -> None:
        self.scene: Scene | None = None
        self.difference = DIFFERENCES[0]
        self.notices: deque[str] = deque(maxlen=8)
        self._twin: Stage | None = None  # the other one of imagined and real, while it waits
        self._options: dict[str, Any] | None = None  # of every new episode
        # Stages for futures to come. They stay open: some of gymnasium's envs shut all of pygame
        # down when they close, the window too.
        self._spares: list[Stage] = []

    @property
    def stage(self) -> Stage | None:
        """The stage in focus; None before `start`."""
        return self.scene.stage if self.scene else None

    def view(self) -> View:
        """Return what there is to see now."""
        return self.scene.view()

    def switch(self) -> None:
        """Change between the imagined world and the real simulator it learned from."""
        if len(self.scene.panes) > 1:
            self.focus_next()
            return
        twin = self._find_twin()
        if twin is not None:
            self._show(twin)

    def compare(self) -> None:
        """Show the real simulator beside the imagined world, from one state; or end that."""
        if isinstance(self.scene, Comparison):
            self._be_alone()
            return
        self._be_alone()
        pair = self.stage, self._find_twin()
        if pair[1] is None:
            return
        imagined, real = sorted(pair, key=lambda stage: not stage.imagined)
        with self._excused("no comparison"):
            scene = Comparison(imagined, real)
            scene.align()
            self.scene, self._twin = scene, None

    def imagine_from_real(self) -> None:
        """Let the imagined world go on from the real simulator's present frames."""
        with self._excused("not imagined"):
            if isinstance(self.scene, Comparison):
                self.scene.align()
                return
            self._be_alone()
            twin = self._find_twin()
            if twin is None:
                return
            imagined, real = sorted((self.stage, twin), key=lambda stage: not stage.imagined)
            real.settle()
            imagine_on(imagined, real)
            self._show(imagined)

    def _find_twin(self) -> Stage | None:
        """Return the other one of imagined and real, made if need be."""
        if self._twin is None:
            cfg = getattr(self.stage.world, "cfg", None)
            env_id, kwargs = getattr(cfg, "env_id", ""), getattr(cfg, "env_kwargs", {})
            if not env_id:
                self.notices.append("there is only this one simulator here")
                return None
            with self._excused(f"{env_id} does not start"):
                twin = Stage(reopen_env(env_id, kwargs), env_id, actions=self.stage.given)
                twin.reset(self.stage.moment.seed)
                self._twin = twin
        return self._twin

    def _imagined(self) -> Stage | None:
        stages = [self.stage, *self.scene.stages, *([self._twin] if self._twin else [])]
        return next((stage for stage in stages if stage.imagined), None)

    def _show(self, stage: Stage) -> None:
        """Put one stage on the screen; the other one of imagined and real waits."""
        self._be_alone()
        if stage is not self.stage:
            self.scene, self._twin = Scene([Pane(stage)]), self.stage

    def branch(self, count: int | None = None) -> None:
        """Show so many futures of this moment side by side.

        Args:
            count: 1 goes on with the one in focus; None takes one more, and after four just one.
        """
        now = len(self.scene.panes) if isinstance(self.scene, Futures) else 1
        count = now % MOST_FUTURES + 1 if count is None else count
        if not 1 <= count <= MOST_FUTURES:
            raise ValueError(f"`count` must be from 1 to {MOST_FUTURES}, got {count}")
        self._be_alone()
        if count == 1:
            return
        ways = self._differences()
        if self.difference not in ways:
            self.difference = ways[0]
        with self._excused("no futures"):
            others = [self._borrow() for _ in range(count - 1)]
            self.scene = Futures(self.stage, others, self.difference)
            self.notices.append(f"{count} futures that differ in {self.difference}")
            if not self.scene.alike:
                self.notices.append(ASTRAY)

    def deaf(self) -> bool:
        """Return whether no prompt is heard here, and say so."""
        deaf = not self.stage.offers("set_prompt")
        if deaf:
            self.notices.append("prompts change imagined worlds; this is the real simulator")
        return deaf

    def change_difference(self) -> None:
        """Let futures differ in something else: chance, prompts or actions."""
        ways = self._differences()
        at = ways.index(self.difference) + 1 if self.difference in ways else 0
        self.difference = ways[at % len(ways)]
        if isinstance(self.scene, Futures):
            count = len(self.scene.panes)
            self.scene.restart()
            self.branch(count)
        else:
            self.notices.append(f"futures differ in {self.difference}")

    def _differences(self) -> tuple[str, ...]:
        """Return what futures can differ in here."""
        others = any(prompt != self.stage.moment.prompt for prompt in self.stage.prompts)
        able = {
            "chance": self.stage.has_chance,
            "prompts": others and self.stage.offers("set_prompt"),
            "actions": True,
        }
        return tuple(way for way in DIFFERENCES if able[way])

    def focus_next(self) -> None:
        """Put the next pane into focus: it has the keys, the prompts and the HUD."""
        self.focus((self.scene.focus + 1) % len(self.scene.panes))

    def focus(self, number: int) -> None:
        """Put a pane into focus."""
        self.scene.focus = min(max(number, 0), len(self.scene.panes) - 1)

    def _be_alone(self) -> None:
        """Go on with the pane in focus; the others wait until they are needed again."""
        chosen, before = self.stage, self.scene.stages
        if len(before) == 1:
            return
        kept = isinstance(self.scene, Comparison)
        self.scene = Scene([Pane(chosen)])
        for stage in before:
            if stage is not chosen and kept:
                self._twin = stage
            elif stage is not chosen:
                self._spares.append(stage)

    def _borrow(self) -> Stage:
        """Return another stage of the env in focus."""
        alike = [spare for spare in self._spares if spare.title == self.stage.title]
        if not alike:
            return self.stage.fork()
        self._spares.remove(alike[0])
        return alike[0]

    @contextmanager
    def _excused(self, what: str) -> Iterator[None]:
        """Turn an error into a notice, where the session can go on without what failed."""
        try:
            yield
        except Exception as error:
            self.notices.append(f"{what}: {error}")
