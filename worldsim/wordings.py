"""Which wordings captions use, and other words that people have for the same."""

from collections.abc import Sequence

import numpy as np

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


def taught(options: Sequence[str]) -> list[str]:
    """Return the wordings that captions use; every fifth is kept for tests."""
    return [option for i, option in enumerate(options) if i % 5 != 4]


def pick(options: Sequence[str], rng: np.random.Generator, split: str) -> str:
    """Choose a wording for captions, or one of those kept for tests if `split` is test."""
    held = [option for i, option in enumerate(options) if i % 5 == 4]
    return str(rng.choice(held if split == "test" and held else taught(options)))
