"""Which wordings captions use, what else people say for the same, and how a prompt is read."""

import re
from collections.abc import Sequence

import numpy as np

Wordings = dict[str, dict[str, tuple[str, ...]]]  # of the values of each attribute
Patterns = list[tuple[re.Pattern, str, str]]  # of a wording, with key and value
SYNONYMS = {
    "biome": {
        "green countryside": (
            "country road", "countryside", "farmland", "meadows", "pastures", "a green valley",
            "grassland", "rural fields", "hills of grass", "woods in summer",
        ),
        "desert": (
            "desert", "the sahara", "sand dunes", "a dry wasteland", "badlands", "cactuses",
            "an oasis", "arizona", "a sandy plain",
        ),
        "snowy forest": (
            "winter woods", "snowy pines", "a winter wonderland", "taiga", "lapland", "icy woods",
            "a snowy landscape", "a frozen forest", "firs under snow", "in winter",
        ),
        "autumn forest": (
            "fall foliage", "autumn", "autumn leaves", "woods in october", "red and yellow trees",
            "falling leaves", "an indian summer", "maple trees", "in fall", "in autumn",
        ),
        "city": (
            "downtown", "town", "urban streets", "skyscrapers", "a big city", "tokyo", "new york",
            "city blocks", "between houses", "an avenue",
        ),
    },
    "time": {
        "day": (
            "day", "in the morning", "in the afternoon", "midday", "daylight", "on a sunny day",
            "in bright sunlight", "at ten in the morning",
        ),
        "sunset": (
            "evening", "sunset", "twilight", "dusk", "in the evening", "in golden evening light",
            "in golden light", "under a low sun", "late in the afternoon", "evening glow",
            "dawn", "at dawn", "sunrise", "at daybreak", "at first light", "early in the morning",
            "early morning",
        ),
        "night": (
            "night", "midnight", "at midnight", "nighttime", "in pitch darkness", "under the stars",
            "under the moon", "under a starry sky", "in the dark", "at three in the morning",
        ),
    },
    "weather": {
        "clear": (
            "sunny", "sunshine", "blue sky", "cloudless", "dry weather", "bright weather",
            "not a cloud in the sky", "a fine day",
        ),
        "rain": (
            "rainy", "pouring rain", "showers", "a rainstorm", "a thunderstorm", "wet weather",
            "raining cats and dogs", "drizzle", "a cloudburst",
        ),
        "fog": (
            "foggy", "misty", "haze", "hazy air", "mist", "murky air", "poor visibility",
            "a wall of fog", "mist over the road",
        ),
        "snow": (
            "snowing", "a snowstorm", "a blizzard", "snow showers", "heavy snow", "whirling snow",
            "it snows", "thick flakes",
        ),
    },
    "traffic": {
        "empty": ("an open road", "without any traffic", "no one around", "a lonely highway",
                  "alone on the road", "deserted", "no cars"),
        "light": ("hardly any traffic", "few cars", "a car now and then", "quiet traffic",
                  "one or two cars"),
        "busy": ("rush hour", "a traffic jam", "congested", "crowded", "full of cars",
                 "bumper to bumper", "busy"),
    },
}  # fmt: skip
"""What else people say of driving scenes; a prompt in these words is read in taught ones."""

DOOM_SYNONYMS = {
    "theme": {
        "brick hall": (
            "bricks", "brick walls", "a brick room", "a brick building", "a hall of red stone",
            "masonry",
        ),
        "dark cave": (
            "cave", "caverns", "a mine", "a tunnel in the rock", "rocks underground", "a den",
        ),
        "lava hell": (
            "hell", "lava", "a volcano", "fire and brimstone", "magma", "a sea of fire",
            "flames everywhere", "a burning pit", "the underworld",
        ),
        "blue tech base": (
            "a laboratory", "a sci-fi lab", "a spaceship", "a moon base", "a research station",
            "blue computer rooms", "a high-tech complex",
        ),
        "toxic sewer": (
            "sewers", "sewage", "slime", "acid pools", "poisonous water", "a drain full of acid",
            "toxic waste", "radioactive sludge",
        ),
        "marble temple outdoors": (
            "a temple", "marble", "an outdoor shrine", "ruins under the sky", "a stone garden",
            "a courtyard", "outside between columns",
        ),
        "foggy wooden house": (
            "a log cabin", "a wooden hut", "a house of planks", "wooden rooms", "a barn",
            "a haunted house of wood",
        ),
        "red metal corridor": (
            "iron hallways", "a metal hallway", "rusty corridors", "steel and rust",
            "a red factory", "a red passage of steel",
        ),
    },
    "monster": {
        "none": ("nothing alive", "alone", "no monsters at all", "no foes", "no one here"),
        "imp": ("imp", "small brown devils", "spiky brown monsters", "monsters with fireballs"),
        "demon": ("demon", "pink monsters", "pink beasts", "pinkies"),
        "cacodemon": ("cacodemon", "flying monsters", "floating heads", "red flying balls"),
        "baron": ("baron", "horned giants", "goat-legged giants"),
        "mancubus": ("mancubus", "obese monsters", "fat monsters with guns"),
        "zombie": ("zombie", "the undead", "dead soldiers", "soldiers", "men with rifles"),
    },
    "scenario": {
        "take_cover": (
            "being shot at", "under fire", "dodging bullets", "hiding from shots",
            "avoiding fireballs", "dodging projectiles", "shots from across the room",
        ),
        "my_way_home": (
            "exploring", "finding the exit", "lost in a maze", "a labyrinth", "searching the rooms",
            "going from room to room", "corridors and rooms",
        ),
        "health_gathering": (
            "collecting health packs", "first aid kits", "picking up health",
            "staying alive with medikits", "looking for medikits",
        ),
        "defend_the_center": (
            "surrounded", "a last stand", "enemies from every direction", "attacked from all sides",
            "standing in the middle", "surrounded by enemies", "monsters close in from everywhere",
        ),
    },
    "air": {
        "plain": (
            "in bright light", "well lit", "in good light", "with a clear view", "in white light",
            "with the lights on", "in clear air",
        ),
        "fog": (
            "in mist", "in smoke", "full of smoke", "in a grey haze", "in dense fog",
            "poor visibility",
        ),
        "darkness": (
            "dark", "in the dark", "pitch black", "dimly lit", "barely lit", "with little light",
            "without light", "with almost no light", "in gloom", "poorly lit", "a power cut",
        ),
        "red alarm": (
            "with red lights", "in red light", "with sirens on", "under emergency lights",
            "in glowing red light", "red lamps flash",
        ),
    },
}  # fmt: skip
"""The same of Doom's scenes."""

DENIALS = "no|not|nobody|none|without|nothing|never"  # what denies the words that follow
_BEFORE = ("no", "not", "not at", "not in", "without", "without any", "without the")
ASKED = "".join(rf"(?<!\b{words} )" for words in _BEFORE) + r"\b"
"""What stands in a pattern before a word that a prompt is to ask for, not to deny."""


def taught(options: Sequence[str]) -> list[str]:
    """Return the wordings that captions use; every fifth is kept for tests."""
    return [option for i, option in enumerate(options) if i % 5 != 4]


def pick(options: Sequence[str], rng: np.random.Generator, split: str) -> str:
    """Choose a wording for captions, or one of those kept for tests if `split` is test."""
    held = [option for i, option in enumerate(options) if i % 5 == 4]
    return str(rng.choice(held if split == "test" and held else taught(options)))


def compile_wordings(words: Wordings, more: Wordings, last: Sequence[tuple] = ()) -> Patterns:
    """Return what finds the attributes that a prompt names.

    Args:
        words: What is said of each value of each attribute; the longest is looked for first.
        more: What else is said of some of them.
        last: Expressions, with key and value, that are looked for after these.
    """
    named = [
        (re.sub("^(a|an|the) ", "", wording), key, value)
        for key, values in words.items()
        for value, phrases in values.items()
        for wording in (*phrases, *more.get(key, {}).get(value, ()))
    ]
    named.sort(key=lambda one: -len(one[0]))
    every = [(re.escape(wording), key, value) for wording, key, value in named] + [*last]
    return [(re.compile(rf"{ASKED}({word})\b"), key, value) for word, key, value in every]


def take_out(text: str, patterns: Patterns) -> tuple[str, dict[str, str]]:
    """Return what is left of a text without what the patterns find, and what that names."""
    found: dict[str, str] = {}
    for pattern, key, value in patterns:
        text, times = pattern.subn(" ", text)
        if times:
            found.setdefault(key, value)
    return text, found
