"""A line of text being typed, with history and suggestions."""

import pygame

SHOWN = 6  # suggestions


class PromptEntry:
    """Edit a prompt key by key.

    Up and Down walk through the suggestions (earlier prompts, the latest first, then the world's
    examples, as far as they contain what is typed); Tab takes one over for editing.

    Args:
        history: Prompts of this session, the latest last.
        examples: Prompts that the world knows.
    """

    def __init__(self, history: list[str], examples: list[str]) -> None:
        self.text, self.chosen = "", None
        self._known = list(dict.fromkeys([*reversed(history), *examples]))

    @property
    def suggestions(self) -> list[str]:
        """Known prompts that contain what is typed."""
        typed = self.text.lower().strip()
        return [p for p in self._known if typed in p.lower() and p != self.text][:SHOWN]

    @property
    def prompt(self) -> str:
        """The chosen suggestion, or else what is typed."""
        return self.text if self.chosen is None else self.suggestions[self.chosen]

    def edit(self, event: pygame.event.Event) -> None:
        """Take one KEYDOWN event."""
        count = len(self.suggestions)
        if event.key in (pygame.K_UP, pygame.K_DOWN):
            step = 1 if event.key == pygame.K_DOWN else -1
            beyond = -1 if step == 1 else count
            at = (beyond if self.chosen is None else self.chosen) + step
            self.chosen = at if 0 <= at < count else None
        elif event.key == pygame.K_TAB and count:
            self._write(self.suggestions[self.chosen or 0])
        elif event.key == pygame.K_BACKSPACE and event.mod & (pygame.KMOD_CTRL | pygame.KMOD_ALT):
            self._write(" ".join(self.prompt.split()[:-1]))
        elif event.key == pygame.K_BACKSPACE:
            self._write(self.prompt[:-1])
        elif event.unicode.isprintable():
            self._write(self.prompt + event.unicode)

    def _write(self, text: str) -> None:
        self.text, self.chosen = text, None
