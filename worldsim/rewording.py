"""A prompt in the words that a world was taught, as Sora has every prompt recaptioned.

A world binds what it shows to the wordings of its captions, and hardly knows others. So where a
prompt speaks of the place, the time or the weather in words of its own, the nearest wording that
was taught takes their place, found by what the text encoder makes of both. Nothing else changes.

References:
    Video generation models as world simulators, Brooks et al. 2024 (recaptioning)
    Sentence-BERT, Reimers & Gurevych 2019, https://arxiv.org/abs/1908.10084
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from worldsim.envs import doom_captions, drive_captions
from worldsim.text import MAX_TOKENS, TextEncoder
from worldsim.wordings import DENIALS, DOOM_SYNONYMS, SYNONYMS, taught

ALIKE = 0.65  # cosine from which two wordings say the same
DENIED = 0.63  # the same where both deny something, which makes them alike
UNASKED = 0.003  # what it counts for if a start is as usual where a prompt says nothing
LONGER = 0.05  # what each further word is worth: "a dense, cold mist" rather than its "mist"
LONGEST = 6  # words of a wording that is looked for
LEADS = "in|at|by|through|amid|under|on|as|around|after|along|across|into|during|with|over"
STOPS = f"{LEADS}|full|without"  # where a wording may begin, and none goes on
ARTICLE = "a|an|the"
ARTICLES = f"{ARTICLE}|and|of|to|is|it"
BESIDE = (  # what captions say beside the attributes, or fits two of them: nothing to reword
    "a red car", "the small red car", "red car", "car", "the car drives along", "the road",
    "driving through", "rolls down the road", "takes a left bend", "curves to the right",
    "drives off-road", "the camera follows", "another car is close by", "brakes", "the player",
    "a highway", "a motorway", "a freeway", "a lane",
    "in summer", "in spring", "a forest", "forest", "woods", "a forest road", "under the open sky",
    "mossy", "a room", "in a room", "a large room", "the walls", "from wall to wall", "the gun",
    "the view", "monsters", "enemies", "a monster", "foes",
)  # fmt: skip
TAUGHT = {
    "worldsim/Drive-v0": (drive_captions, SYNONYMS),
    "worldsim/Doom-v0": (doom_captions, DOOM_SYNONYMS),
}


@dataclass(frozen=True)
class _Wording:
    text: str
    key: str = ""  # of the attribute; empty is none
    value: str = ""
    taught: bool = True


class Rewording:
    """What turns prompts into the words that worlds of one simulator were taught.

    Args:
        env_id: Of the simulator; prompts for others than those of `TAUGHT` stay as they are.
        encoder: Says what wordings mean.
    """

    def __init__(self, env_id: str, encoder: TextEncoder) -> None:
        self.name = env_id.rpartition(":")[2]
        others = TAUGHT[self.name][1] if self.simulator else {}
        words = self.simulator.WORDS if self.simulator else {}
        self.encoder = encoder
        self.wordings = [_Wording(text, taught=False) for text in BESIDE]
        for key, values in words.items():
            for value, phrases in values.items():
                more = others.get(key, {}).get(value, ())
                self.wordings += [_Wording(text, key, value) for text in taught(phrases)]
                self.wordings += [_Wording(text, key, value, taught=False) for text in more]
        self._denies = torch.tensor([_denies(one.text) for one in self.wordings])
        self._meanings: Tensor | None = None

    @property
    def simulator(self) -> ModuleType | None:
        """What knows the simulator's captions; a module, which no world could be copied with."""
        return TAUGHT[self.name][0] if self.name in TAUGHT else None

    def __call__(self, prompt: str) -> str:
        """Return the prompt with what it names in other words in those that were taught."""
        if self.simulator is None:
            return prompt
        text, named = self._take_out(prompt)
        ends = [word.end() for word in re.finditer(r"\S+", text)]
        spans = _spans(text[: ends[:MAX_TOKENS][-1]]) if ends else []  # the rest is not read
        if not spans:
            return prompt
        if self._meanings is None:
            self._meanings = self.encoder.sentences([one.text for one in self.wordings])
        alike = self.encoder.sentences([span[0] for span in spans]) @ self._meanings.T
        denies = torch.tensor([_denies(span[0]) for span in spans])
        alike[denies[:, None] != self._denies] = -1.0  # an encoder hardly hears a "no"
        alike[denies] = torch.where(alike[denies] < DENIED, -1.0, alike[denies])
        best, which = alike.max(1)
        best = best + LONGER * torch.tensor([span[0].count(" ") for span in spans])
        swaps: list[tuple[int, int, str]] = []
        for i in best.argsort(descending=True).tolist():  # what is surest comes first
            near, (start, end) = self.wordings[int(which[i])], spans[i].span()
            if best[i] < ALIKE:
                break
            free = all(end <= a or b <= start for a, b, _ in swaps)
            if free and near.key and near.key not in named:
                named.add(near.key)
                wording = self._as_taught(near, alike[i])
                if not re.match(rf"({LEADS})\b", wording):  # the sentence keeps its preposition
                    start += re.match(rf"(({LEADS}) )?", spans[i][0]).end()
                if re.match(rf"({ARTICLE}|{LEADS}) ", wording):  # and no article twice, or alone
                    start = re.search(rf"(\b({ARTICLE}) )?$", prompt[:start], re.I).start()
                swaps.append((start, end, wording))
        for start, end, wording in sorted(swaps, reverse=True):
            prompt = prompt[:start] + wording + prompt[end:]
        return prompt

    def heard(self, prompt: str) -> str:
        """Say what is made of a prompt; nothing, if it is read as it is."""
        if self.simulator is None:
            return ""
        read = self(prompt)
        if not self.simulator.attributes(read):
            return f"nothing that this world was taught is named in {prompt!r}"
        return "" if read == prompt else f"read as {read!r}"

    def in_common(self, prompt: str, captions: Sequence[str]) -> list[float]:
        """Return how much each caption names of what a prompt does: the place counts for most.

        Each attribute counts for more than all after it, in the order of the simulator's `WORDS`; a
        whole agreement is below 2. Where nobody asked for rain or an alarm, none is better by a
        little. What is beside these attributes counts for nothing.
        """
        if self.simulator is None:
            return [0.0] * len(captions)
        asked = self.simulator.attributes(prompt)
        weights = {key: 2.0**-i for i, key in enumerate(self.simulator.WORDS) if key in asked}
        wanted = self.simulator.PLAIN | asked
        told = [self.simulator.PLAIN | self.simulator.attributes(caption) for caption in captions]
        return [
            sum(weights.get(k, UNASKED) for k, value in wanted.items() if said.get(k) == value)
            for said in told
        ]

    def _as_taught(self, near: _Wording, alike: Tensor) -> str:
        """Return the nearest of the wordings in which the same was taught."""
        same = [
            i for i, one in enumerate(self.wordings)
            if one.taught and (one.key, one.value) == (near.key, near.value)
        ]  # fmt: skip
        return self.wordings[same[int(alike[same].argmax())]].text

    def _take_out(self, prompt: str) -> tuple[str, set[str]]:
        """Blank what is in taught words, the longest first; return the rest and what it names."""
        # letter by letter: a few become two
        text = "".join(low if len(low := letter.lower()) == 1 else letter for letter in prompt)
        named: set[str] = set()
        plain = [_Wording(look.lower()) for look in self.simulator.LOOKS.values()]
        plain += [one for one in self.wordings if one.key and one.taught]
        for one in sorted(plain, key=lambda one: -len(one.text)):
            pattern = rf"\b{re.escape(re.sub('^(a|an|the) ', '', one.text))}(?!\w)"
            text, times = re.subn(pattern, lambda found: "|" * len(found[0]), text)
            if times and one.key:
                named.add(one.key)
        return text, named


def _spans(text: str) -> list[re.Match]:
    """Return every run of up to `LONGEST` words that no sign and no preposition parts."""
    inner = rf" (?!({STOPS})\b)[\w'-]+"
    spans = []
    for count in range(LONGEST):
        words = re.compile(rf"\b[\w'-]+(?:{inner}){{{count}}}(?![\w'-])")
        for start in re.finditer(r"(?<![\w'-])\w", text):
            span = words.match(text, start.start())
            denied = re.search(rf"\b({DENIALS}) $", text[: start.start()])
            if span and not denied and not re.search(rf"\b({LEADS}|{ARTICLES})$", span[0]):
                spans.append(span)
    return spans


def _denies(text: str) -> bool:
    return bool(re.match(rf"({DENIALS})\b", text))
