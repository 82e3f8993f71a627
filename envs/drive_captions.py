"""What a person would say of a driving scene, in three lengths and many wordings."""

import re

import numpy as np

from worldsim.wordings import ASKED, compile_wordings, pick, take_out

WORDS = {
    "biome": {
        "green countryside": (
            "green countryside", "lush meadows", "rolling green fields", "the grassy countryside",
            "green farmland with leafy trees", "verdant hills", "a leafy green valley",
        ),
        "desert": (
            "the desert", "a sandy desert", "dry desert land with cactuses",
            "an arid plain of sand", "sun-baked dunes", "a barren sandy waste", "cactus country",
        ),
        "snowy forest": (
            "a snowy forest", "a snow-covered forest", "a white winter forest", "snowy pine woods",
            "a wintry land of pines", "frosty woodland", "snowbound fir trees",
        ),
        "autumn forest": (
            "an autumn forest", "orange and red autumn woods", "a forest in fall colours",
            "woods of golden leaves", "trees turning red and gold", "autumnal woodland",
            "a russet fall forest",
        ),
        "city": (
            "a city", "city streets", "a downtown full of buildings",
            "streets between tall buildings", "an urban district",
            "a metropolis of concrete blocks", "town streets lined with towers",
        ),
    },
    "time": {
        "day": (
            "by day", "in daylight", "at noon", "in the daytime", "under a daytime sky",
            "in broad daylight", "around midday",
        ),
        "sunset": (
            "at sunset", "in the orange light of the evening", "at dusk", "as the sun goes down",
            "in the golden hour", "at sundown", "in warm evening light",
        ),
        "night": (
            "at night", "in the dark of night", "by night with headlights on", "after dark",
            "under a night sky", "in the dead of night", "late at night, headlights glowing",
        ),
    },
    "weather": {
        "clear": (
            "clear weather", "a clear sky", "fine weather", "clear air", "dry and clear conditions",
            "a cloudless feel", "good visibility",
        ),
        "rain": (
            "rain", "rainy weather", "falling rain", "a wet road and rain", "steady rain",
            "a downpour", "drizzle on wet asphalt",
        ),
        "fog": (
            "fog", "thick fog", "dense mist", "foggy weather", "grey fog that hides the distance",
            "a misty haze", "low visibility in fog",
        ),
        "snow": (
            "snowfall", "falling snow", "snowy weather", "snowflakes in the air", "drifting snow",
            "a flurry of snow", "flakes coming down",
        ),
    },
    "traffic": {
        "empty": (
            "an empty road", "no other cars", "nobody else on the road", "a deserted road",
            "the road to itself", "not another vehicle in sight", "a lonely road",
        ),
        "light": (
            "light traffic", "a few other cars", "some cars here and there", "an occasional car",
            "little traffic", "sparse traffic", "now and then another vehicle",
        ),
        "busy": (
            "busy traffic", "many other cars", "heavy traffic", "cars and trucks all around",
            "a crowded road", "dense traffic", "lots of vehicles",
        ),
    },
}  # fmt: skip
ADJECTIVES = {
    "time": {
        "day": ("day", "daytime", "daylight"), "sunset": ("sunset", "evening"),
        "night": ("night", "dark"),
    },
    "weather": {
        "clear": ("clear", "fair"), "rain": ("rainy", "wet"), "fog": ("foggy", "misty"),
        "snow": ("snow", "snowing", "snowy-weather"),
    },
}  # fmt: skip
LOOKS = {
    ("time", "day"): "The light is even and the colours are bright.",
    ("time", "sunset"): "The sky glows from violet down to orange and everything has a warm tint.",
    ("time", "night"): "It is dark, and only the cone of the headlights shows the asphalt.",
    ("weather", "clear"): "One can see all the way to the hills at the horizon.",
    ("weather", "rain"): "Streaks of rain cross the picture and the asphalt shines.",
    ("weather", "fog"): "The distance dissolves into a flat pale haze.",
    ("weather", "snow"): "White flakes drift past under a pale, covered sky.",
    ("biome", "green countryside"): "Round green trees stand in the grass on both sides.",
    ("biome", "desert"): "Green cactuses dot the yellow sand beside the road.",
    ("biome", "snowy forest"): "Dark pines rise from the white ground.",
    ("biome", "autumn forest"): "Red, orange and golden trees line the road.",
    ("biome", "city"): "Blocks of buildings with rows of windows rise beside the road.",
}
EXAMPLE_PROMPTS = (
    "a snowy forest road at night",
    "a desert road at sunset, clear weather",
    "city streets in the rain at night",
    "green countryside by day with a few other cars",
    "an autumn forest in thick fog",
    "busy city traffic at sunset",
    "the desert at night under a clear sky",
    "falling snow in a snowy forest by day",
)


def caption(
    scene: dict, state: dict, rng: np.random.Generator, length: str, split: str = "train"
) -> str:
    """Describe a moment: "short" a few words, "sentence", or "paragraph" of at most 135 words."""
    say = {k: pick(said[scene[k]], rng, split) for k, said in WORDS.items() if scene.get(k) in said}
    if length == "short":
        return _short(scene, say, rng)
    first = _sentence(scene, say, state, rng)
    return first if length == "sentence" else _paragraph(scene, say, state, first, rng)


def attributes(prompt: str) -> dict[str, str]:
    """Return the scene attributes that a prompt names, by words in common.

    Long wordings are looked for first and what they match is taken out, so that the snow of "a
    snowy forest" is not taken for weather.
    """
    text, _, ahead = prompt.lower().partition(_AHEAD)
    text, found = take_out(text, _PATTERNS)
    words = set(re.findall(rf"{ASKED}[a-z]+", text))
    for word, key, value in _HINTS:
        if word in words and key not in found:
            found[key] = value
            words.remove(word)
    if ahead:
        later = attributes(ahead)
        if "biome" in later:
            found["next_biome"] = later["biome"]
    return found


def _short(scene: dict, say: dict[str, str], rng: np.random.Generator) -> str:
    """A few words; the weather and the traffic may go unsaid."""
    parts = [say["biome"], say["time"]]
    if rng.random() < 0.75 or scene["weather"] != "clear":
        parts.append(say["weather"])
    if rng.random() < 0.4 and "traffic" in say:
        parts.append(say["traffic"])
    head, rest = parts[0], parts[1:]
    rng.shuffle(rest)
    shape = int(rng.integers(3))
    if shape == 0:
        return ", ".join([head, *rest])
    if shape == 1:
        return ", ".join([f"a road through {head}", *rest])
    return ", ".join([*rest, head])


def _manoeuvre(state: dict, rng: np.random.Generator) -> str:
    """Say what the car does, from the ground truth."""
    speed, bend = state.get("speed", 15.0), state.get("curvature", 0.0)
    if abs(state.get("offset", 0.0)) > 7.5:
        acts = ("bumps along off the road", "has left the asphalt", "drives off-road")
    elif speed < 1:
        acts = ("stands still", "has stopped", "waits on the road")
    elif state.get("brake", 0.0) > 0.3:
        acts = ("brakes", "slows down, brake lights on")
    else:
        side = "left" if bend > 0 else "right"
        bends = (f"takes a {side} bend", f"curves to the {side}", f"follows the road {side}")
        ahead = ("drives straight on", "drives along", "rolls down the road", "cruises")
        pace = " slowly" if speed < 8 else " fast" if speed > 22 else ""
        acts = [act + pace for act in (bends if abs(bend) > 0.35 else ahead)]
    return str(rng.choice(acts))


def _sentence(scene: dict, say: dict[str, str], state: dict, rng: np.random.Generator) -> str:
    car = str(rng.choice(["a red car", "the red car", "a small red car"]))
    if scene.get("camera") == "hood":
        car = "the car"
    act = _manoeuvre(state, rng)
    traffic = f", {say['traffic']}" if "traffic" in say and rng.random() < 0.6 else ""
    templates = (
        f"{car} {act} through {say['biome']} {say['time']}, {say['weather']}{traffic}.",
        f"{say['time']}, with {say['weather']}, {car} {act} through {say['biome']}{traffic}.",
        f"driving through {say['biome']} {say['time']} in {say['weather']}{traffic}; {car} {act}.",
        f"in {say['biome']}, {car} {act} {say['time']} amid {say['weather']}{traffic}.",
    )
    text = templates[int(rng.integers(len(templates)))]
    return text[0].upper() + text[1:]


def _paragraph(
    scene: dict, say: dict[str, str], state: dict, first: str, rng: np.random.Generator
) -> str:
    """The sentence, how things look, and what is near; at most 135 words."""
    looks = [LOOKS[key, scene[key]] for key in ("biome", "time", "weather")]
    rng.shuffle(looks)
    views = {
        "hood": "The view is from the bonnet, close to the asphalt.",
        "chase": "The camera follows close behind and a little above the car.",
    }
    view = views.get(scene.get("camera"), views["chase"])
    lines = [first, *looks[: int(rng.integers(2, 4))], view]
    if state.get("nearest_car", 100.0) < 20:
        lines.append("Another car is close by.")
    if "traffic" in say:
        lines.append(f"There is {say['traffic']}.")
    if scene.get("next_biome"):
        lines.append(
            f"Ahead the land changes to {pick(WORDS['biome'][scene['next_biome']], rng, 'train')}."
        )
    return " ".join(" ".join(lines).split()[:135])


PLAIN = {"time": "day", "weather": "clear"}  # where a prompt says nothing
LIKELY = {"biome": "green countryside", "traffic": "light"} | PLAIN
_AHEAD = "ahead the land changes to "
_PATTERNS = compile_wordings(WORDS, ADJECTIVES)
_HINTS = (
    ("night", "time", "night"), ("dark", "time", "night"), ("dusk", "time", "sunset"),
    ("sunset", "time", "sunset"), ("evening", "time", "sunset"), ("day", "time", "day"),
    ("noon", "time", "day"), ("sunny", "weather", "clear"), ("clear", "weather", "clear"),
    ("rain", "weather", "rain"), ("rainy", "weather", "rain"), ("fog", "weather", "fog"),
    ("foggy", "weather", "fog"), ("misty", "weather", "fog"), ("snowing", "weather", "snow"),
    ("snowfall", "weather", "snow"), ("desert", "biome", "desert"), ("sand", "biome", "desert"),
    ("city", "biome", "city"), ("town", "biome", "city"), ("street", "biome", "city"),
    ("countryside", "biome", "green countryside"), ("meadow", "biome", "green countryside"),
    ("green", "biome", "green countryside"),
    ("autumn", "biome", "autumn forest"), ("fall", "biome", "autumn forest"),
    ("winter", "biome", "snowy forest"), ("snowy", "biome", "snowy forest"),
    ("snowy", "weather", "snow"),  # where it is not the forest that is snowy
    ("busy", "traffic", "busy"), ("empty", "traffic", "empty"),
)  # fmt: skip
