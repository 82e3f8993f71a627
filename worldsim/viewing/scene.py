"""What is on the screen: one to four stages side by side, moved by the same hands.

Scene ─┬─ Comparison   an imagined world beside the real simulator it learned from
       └─ Futures      two to four ways in which this moment can go on
"""

from dataclasses import dataclass, field
from typing import Any

from worldsim.keyboard import ARROWS
from worldsim.viewing.pilots import Hands, Policy
from worldsim.viewing.stage import Moment, Stage

PAST = 16  # real frames that an imagined world starts from, as from a start clip


@dataclass
class Pane:
    """A stage, what is written on it, and who acts there if it is not the player's choice."""

    stage: Stage
    label: str = ""
    driver: str = ""
    """One of `pilots.DRIVERS`; empty follows the pane in focus."""
    keys: tuple[int, ...] = ()
    """Keys that are held here all the time."""


@dataclass(frozen=True)
class Shot:
    """One pane as it is at one moment; may be read by any thread."""

    stage: Stage
    moment: Moment
    label: str = ""


@dataclass(frozen=True)
class View:
    """All panes at one moment."""

    shots: tuple[Shot, ...]
    focus: int = 0
    compared: bool = False
    """Whether the first two panes should show the same."""
    pressed: float | None = None
    """When a key was pressed that this view is the first to answer to, by `perf_counter`."""


@dataclass
class Scene:
    """Panes of which one is in focus: it has the player's hands, prompts and HUD."""

    panes: list[Pane]
    focus: int = 0
    compared: bool = field(default=False, init=False)

    @property
    def stage(self) -> Stage:
        """The stage in focus."""
        return self.panes[self.focus].stage

    @property
    def stages(self) -> list[Stage]:
        """All stages, from left to right."""
        return [pane.stage for pane in self.panes]

    def view(self) -> View:
        """Return what there is to see now."""
        shots = (Shot(pane.stage, pane.stage.moment, pane.label) for pane in self.panes)
        return View(tuple(shots), self.focus, self.compared)

    def begin(self, seed: int, options: dict[str, Any] | None) -> None:
        """Begin another episode."""
        self.stage.reset(seed, options)

    def restart(self) -> None:
        """Begin again where this began."""
        self.stage.restart()

    def step(self, hands: Hands, driver: str, agent: Policy | None = None) -> None:
        """Move every pane that has not ended: by the same action, if nothing else is said."""
        action, keys = self.stage.choose(hands, driver, agent)
        for pane in self.panes:
            if pane.stage.moment.ended:
                continue
            if pane.driver or pane.keys:
                own = pane.stage.choose(Hands(pane.keys), pane.driver or "human", agent)
                pane.stage.act(*own)
            else:
                pane.stage.act(action, keys)

    def rewind(self) -> bool:
        """Take the latest moment back; return False where the past ends."""
        far = [len(s.tape.actions) - len(s.tape.lead) for s in self.stages]
        if self.compared and max(far) <= 0:
            return False
        ahead = [s for s, steps in zip(self.stages, far, strict=True) if steps == max(far)]
        moved = [stage.rewind() for stage in ahead]
        return any(moved)


class Comparison(Scene):
    """An imagined world beside its real simulator, both in the same state at the start.

    No action leads a simulator into a state that was imagined, so it is the other way round: the
    simulator plays a few steps, and the world goes on from those frames under the same actions.
    """

    def __init__(self, imagined: Stage, real: Stage) -> None:
        super().__init__([Pane(imagined, "imagined"), Pane(real, "real simulator")])
        self.compared = True
        self.imagined, self.real = imagined, real

    def begin(self, seed: int, options: dict[str, Any] | None = None) -> None:
        """Begin another episode of the simulator and imagine it on."""
        self.real.reset(seed)
        self.align()

    def restart(self) -> None:
        """Begin again where the two parted."""
        self.real.restart()
        imagine_on(self.imagined, self.real)

    def align(self) -> None:
        """Let the two part here: the imagined world goes on from the simulator's frames."""
        self.real.settle()
        if self.real.moment.ended:
            self.real.reset(self.real.moment.seed + 1)
        while len(self.real.tape.actions) < PAST - 1 and not self.real.moment.ended:
            self.real.act(*self.real.choose(Hands(), "autopilot"))
        self.real.tape.lead = tuple(self.real.tape.actions)
        imagine_on(self.imagined, self.real)


class Futures(Scene):
    """Ways in which one moment can go on.

    Args:
        stage: Where they part; it becomes the first of them.
        others: Stages of the same env, which become the others.
        by: What they differ in, one of `DIFFERENCES`: the world's chance, prompts, or actions.

    Attributes:
        alike: Whether all stand at the same moment; an env without snapshots may not repeat itself.
    """

    def __init__(self, stage: Stage, others: list[Stage], by: str) -> None:
        self.by = by
        self.origin = stage.mark()  # where `restart` comes back to
        came = [other.become(self.origin) for other in others]
        self.alike = all(came)
        super().__init__([Pane(stage), *map(Pane, others)])
        self._part()

    def restart(self) -> None:
        """Go back to where they parted."""
        for stage in self.stages:
            stage.become(self.origin)
        self._part()

    def rewind(self) -> bool:
        """Take the latest moment back, as far as where they parted: before, all are one."""
        parted = len(self.origin.tape.actions)
        if all(len(stage.tape.actions) <= parted for stage in self.stages):
            return False
        return super().rewind()

    def begin(self, seed: int, options: dict[str, Any] | None) -> None:
        """Begin another episode, and part at once."""
        for stage in self.stages:
            stage.reset(seed, options)
        self.origin = self.stage.mark()
        self._part()

    def _part(self) -> None:
        for number, pane in enumerate(self.panes):
            PARTINGS[self.by](pane, number)


def _chance(pane: Pane, number: int) -> None:
    pane.label = f"chance {number + 1}"
    if number:
        pane.stage.reseed(1000 * number + pane.stage.moment.seed)


def _prompt(pane: Pane, number: int) -> None:
    others = [prompt for prompt in pane.stage.prompts if prompt != pane.stage.moment.prompt]
    if number and number <= len(others):
        pane.stage.set_prompt(others[number - 1])
    pane.label = pane.stage.moment.prompt or "no prompt"


def _action(pane: Pane, number: int) -> None:
    left, right, up, _ = ARROWS
    bound = frozenset().union(*pane.stage.bindings)
    with_gas = (up,) if up in bound else ()
    ways = [("you", "", ()), ("autopilot", "autopilot", ())]
    ways += [("left", "", (left, *with_gas)), ("right", "", (right, *with_gas))]
    pane.label, pane.driver, pane.keys = ways[number]


PARTINGS = {"chance": _chance, "prompts": _prompt, "actions": _action}
DIFFERENCES = tuple(PARTINGS)  # what futures can differ in


def imagine_on(imagined: Stage, real: Stage) -> None:
    """Let an imagined world go on from the last frames of its simulator, under its caption.

    Raises:
        ValueError: If its frames are of another size.
    """
    frames, actions = real.tape.last(PAST)
    options: dict[str, Any] = {"frames": frames}
    if actions:
        options["actions"] = actions
    if real.moment.prompt:
        options["prompt"] = real.moment.prompt
    imagined.reset(real.moment.seed, options)
