"""What episodes begin with: a prompt, a recorded start, a picture; and prompts that come later."""

from typing import Any

from worldsim.images import cut_to, read_image
from worldsim.openings import has_starts
from worldsim.viewing.casting import Casting
from worldsim.viewing.starts import Start, clips_of, seeds_of


class Beginning(Casting):
    """Begins episodes of the stage in focus; the part of a `Session` that does.

    Args:
        prompt: What episodes begin with until another is asked for.
        nothing: Whether a prompt begins from nothing, rather than from the recorded start that
            shows most of it.

    Attributes:
        gallery: Pictures of where an episode can begin, while they are shown.
    """

    def __init__(self, prompt: str | None = None, nothing: bool = False) -> None:
        super().__init__()
        self.prompt, self.nothing = prompt, nothing
        self.gallery: list[Start] | None = None

    def expect_prompt(self) -> None:
        """Load what reads prompts while one is typed."""
        if self.stage.offers("set_prompt") and self.stage.world is not None:
            self.stage.world.encoder.preload()

    def set_prompt(self, prompt: str) -> None:
        """Change the prompt while the episode goes on."""
        if self.deaf():
            return
        with self._excused("the prompt was not understood"):
            self.stage.set_prompt(prompt)
            self._tell(prompt)

    def begin(self, prompt: str) -> None:
        """Begin an episode under a prompt; an empty one brings all recorded starts back."""
        if self.deaf():
            return
        self._begin_from(self._wish(prompt), "the prompt was not understood", lasting=True)
        self._tell(prompt)

    def _tell(self, prompt: str) -> None:
        """Say what the world makes of a prompt that is in words of its own."""
        world, in_force = self.stage.world, self.stage.moment.prompt == prompt
        if in_force and hasattr(world, "heard") and (heard := world.heard(prompt)):
            self.notices.append(heard)

    def _wish(self, prompt: str | None) -> dict[str, Any] | None:
        """Return what `reset` is told of a prompt."""
        if not prompt:
            return None
        world = self.stage.world
        told = not self.nothing and hasattr(world, "starts") and world.starts.words
        told = told and has_starts(world, self.stage.env.unwrapped.frame_size)
        return {"prompt": prompt} | ({"start": "nearest"} if told else {})

    def choose_prompt(self, number: int) -> None:
        """Set one of the world's example prompts."""
        if number < len(self.stage.prompts):
            self.set_prompt(self.stage.prompts[number])

    def open_gallery(self) -> None:
        """Put pictures of where an episode can begin into `gallery`, or take them away again.

        Time stands still while they are there.
        """
        if self.gallery is not None:
            self.gallery = None
            return
        with self._excused("no pictures of starts"):
            self.gallery = self._starts()

    def begin_from_start(self, number: int) -> None:
        """Begin from a picture of the gallery."""
        if self.gallery is None:
            return
        start, self.gallery = self.gallery[number], None
        if start.seed is None:
            self._begin_from(start.options, "no such start")
        else:
            self._be_alone()
            self.stage.reset(start.seed)

    def _starts(self) -> list[Start]:
        if hasattr(self.stage.world, "starts"):
            return clips_of(self.stage)
        other = self._borrow()
        self._spares.append(other)
        return seeds_of(other, self.stage.moment.seed + 1)

    def close_gallery(self) -> None:
        """Choose nothing."""
        self.gallery = None

    def begin_from_image(self, path: str) -> None:
        """Begin from a picture on disk, under the prompt in force."""
        stage = self._imagined()
        if stage is None:
            self.notices.append("only an imagined world can begin from a picture")
            return
        with self._excused("no scene from this picture"):
            options = {"frames": cut_to(read_image(path), stage.moment.frame.shape[:2])}
            if stage.moment.prompt:
                options["prompt"] = stage.moment.prompt
            self.gallery = None
            self._show(stage)
            self._begin_from(options, "no scene from this picture")

    def _begin_from(self, options: dict[str, Any] | None, what: str, lasting: bool = False) -> None:
        """Begin an episode alone on the screen; if the env refuses, all stays as it is.

        Args:
            options: Of the env's `reset`.
            what: To tell a person if it fails.
            lasting: Whether later episodes begin so too.
        """
        with self._excused(what):
            self.stage.reset(self.stage.moment.seed, options)
            self._be_alone()
            self._options = options if lasting else None
