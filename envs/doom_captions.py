"""What a person would say of a Doom scene, in three lengths and many wordings."""

import numpy as np

from worldsim.wordings import compile_wordings, pick, take_out

WORDS = {
    "theme": {
        "brick hall": (
            "a brick hall", "a hall of bricks", "a room with brick walls",
            "a great hall of reddish brick", "a brickwork chamber", "a brick-walled arena",
        ),
        "dark cave": (
            "a dark cave", "a gloomy cavern", "a cave of brown rock", "an underground cavern",
            "a dim rocky grotto", "a dark rocky cave",
        ),
        "lava hell": (
            "a lava hell", "a hell of red rock and lava", "a burning hell", "a lava cave",
            "an inferno with a floor of lava", "a fiery underworld of lava",
        ),
        "blue tech base": (
            "a blue tech base", "a blue high-tech base", "a space station with blue floors",
            "a metal base in blue light", "a futuristic blue facility", "a cold blue tech base",
        ),
        "toxic sewer": (
            "a toxic sewer", "a green sewer", "a sewer full of green slime",
            "a mossy sewer with toxic waste", "a poisonous green canal", "a slimy toxic sewer",
        ),
        "marble temple outdoors": (
            "a marble temple outdoors", "a temple of green marble under the open sky",
            "the grounds of a marble temple", "an open-air marble temple",
            "a mossy marble courtyard", "a temple courtyard of marble",
        ),
        "foggy wooden house": (
            "a foggy wooden house", "a wooden house full of fog", "wood-panelled rooms in haze",
            "an old wooden house in the mist", "a misty timber cabin", "a hazy wooden house",
        ),
        "red metal corridor": (
            "a red metal corridor", "corridors of metal in red light", "a rusty red metal hall",
            "a metal corridor with red walls", "a crimson iron passage", "a reddish metal corridor",
        ),
    },
    "monster": {
        "none": (
            "no monsters", "nobody else around", "no enemies", "not a soul about",
            "no creature in sight", "no living thing",
        ),
        "imp": (
            "imps", "imps that throw fireballs", "brown imps", "a group of imps",
            "fire-throwing imps", "snakelike imps",
        ),
        "demon": (
            "pink demons", "demons like pink worms", "pink demons that spit plasma",
            "a group of pink demons", "fleshy pink demons", "rearing pink demons",
        ),
        "cacodemon": (
            "cacodemons", "floating cacodemons", "round cacodemons", "a group of cacodemons",
            "hovering cacodemons", "cacodemons in the air",
        ),
        "baron": (
            "barons of hell", "silver barons", "barons that throw green fire", "a group of barons",
            "towering grey barons", "armoured barons",
        ),
        "mancubus": (
            "mancubuses", "pale mancubuses", "mancubuses with cannons", "a group of mancubuses",
            "bulky mancubuses", "fat mancubuses",
        ),
        "zombie": (
            "zombies", "zombie soldiers", "armed zombies", "a group of zombies",
            "shambling zombies", "undead zombies",
        ),
    },
    "scenario": {
        "take_cover": (
            "dodging fire from the far wall", "taking cover from fireballs",
            "a room where foes shoot from the far side", "sidestepping the fire from across a room",
            "evading shots in a wide room", "dodging shots in a room",
        ),
        "my_way_home": (
            "finding the way home through rooms", "exploring a maze of rooms",
            "walking through rooms and passages in search of the armour",
            "looking for the green armour in a maze", "roaming a labyrinth of rooms",
            "wandering through a maze of rooms",
        ),
        "health_gathering": (
            "gathering medikits", "collecting medikits on a floor that burns",
            "searching for medikits in a square arena", "picking up medikits to stay alive",
            "running from medikit to medikit", "hunting for medikits",
        ),
        "defend_the_center": (
            "defending the centre of a round arena", "holding the middle of an arena",
            "standing off attackers from all sides", "defending the centre against all comers",
            "fighting off what closes in from all around", "holding the centre of a ring",
        ),
    },
    "air": {
        "plain": (
            "in ordinary light", "with clear air", "in the usual light", "under plain light",
            "in clear, even light", "in normal light",
        ),
        "fog": (
            "in fog", "in thick grey fog", "with fog all around", "wrapped in fog",
            "veiled by grey haze from wall to wall", "amid fog",
        ),
        "darkness": (
            "in darkness", "with the lights gone out", "in deep shadow", "in near darkness",
            "with hardly any light", "almost in the dark",
        ),
        "red alarm": (
            "in red alarm light", "under a red alarm", "bathed in red light", "with a red alarm on",
            "in scarlet emergency light", "lit red by an alarm",
        ),
    },
}  # fmt: skip
LOOKS = {
    "brick hall": "The walls are laid in bricks of several sizes over a floor of grey tiles.",
    "dark cave": "Cracked brown rock is on all sides and the far end lies in shadow.",
    "lava hell": "The floor glows orange under a sky of black and red.",
    "blue tech base": "Grey panels and dark blue walls rise from a floor of deep blue.",
    "toxic sewer": "The floor is a green glowing liquid between mossy bricks.",
    "marble temple outdoors": "Blocks of greenish marble stand on grass under dark clouds.",
    "foggy wooden house": "Everything is of brown timber and fades into a pale haze.",
    "red metal corridor": "Riveted metal plates and red walls have a warm, dim glow.",
}
EVENTS = {
    "dead": ("the player dies", "it is all over, health is gone"),
    "goal": ("the green armour is found", "the player takes the armour at the end of the way"),
    "hit": ("the player is hit", "a hit turns the view red", "health drops after a hit"),
    "killed": ("a monster falls", "one foe goes down", "a shot has killed a monster"),
    "pickup": ("something is picked up", "the player picks up supplies", "a pickup flashes gold"),
    "ball": (
        "a fireball comes flying", "a fireball rushes closer", "a glowing ball is on its way here",
    ),
    "fire": ("the player fires", "the gun sends out a blue bolt", "the player shoots"),
    "foe": ("a foe is close by", "a monster stands near", "one of them is close"),
    "": (
        "the player looks ahead", "all is calm", "the gun is held ready",
        "the player watches the place",
    ),
}  # fmt: skip
MOTIONS = (
    "waits", "walks ahead", "backs away", "turns left", "turns right", "steps to the left",
    "steps to the right", "walks in a curve to the left", "walks in a curve to the right",
)  # fmt: skip
ALIASES = (
    ("imps?", "monster", "imp"), ("demons?", "monster", "demon"),
    ("cacodemons?", "monster", "cacodemon"), ("barons?", "monster", "baron"),
    ("mancubi|mancubus(es)?", "monster", "mancubus"), ("zombies?", "monster", "zombie"),
    ("lava|hell", "theme", "lava hell"), ("cave|cavern", "theme", "dark cave"),
    ("sewers?|toxic|slime", "theme", "toxic sewer"), ("bricks?", "theme", "brick hall"),
    ("tech|space station", "theme", "blue tech base"),
    ("marble|temple", "theme", "marble temple outdoors"),
    ("wood|wooden", "theme", "foggy wooden house"), ("metal|iron", "theme", "red metal corridor"),
    ("medikits?", "scenario", "health_gathering"), ("maze|labyrinth", "scenario", "my_way_home"),
    ("arena", "scenario", "defend_the_center"), ("dodge|dodging", "scenario", "take_cover"),
    ("alarm", "air", "red alarm"), ("fog|foggy|mist", "air", "fog"),
    ("darkness", "air", "darkness"),
)  # fmt: skip
EXAMPLE_PROMPTS = (
    "a lava cave full of imps",
    "exploring a maze of rooms in a blue tech base",
    "a toxic sewer with barons",
    "gathering medikits in a marble temple outdoors",
    "a foggy wooden house with zombies",
    "cacodemons in a brick hall",
    "a dark cave, no monsters",
    "a red metal corridor in darkness",
)


def event(state: dict[str, float]) -> str:
    """Return the most telling of what happens at a moment, a key of `EVENTS`."""
    happens = {
        "dead": state.get("health", 100) <= 0,
        "goal": state.get("goal"),
        "hit": state.get("hit"),
        "killed": state.get("killed"),
        "pickup": state.get("pickup"),
        "ball": state.get("coming", state.get("balls") and state.get("nearest_ball", 1000) < 350),
        "fire": state.get("action", 0) >= len(MOTIONS) and state.get("ammo", 1) > 0,
        "foe": state.get("foes") and state.get("nearest_foe", 1000) < 200,
    }
    return next((name for name, true in happens.items() if true), "")


def caption(
    scene: dict[str, str],
    state: dict[str, float],
    rng: np.random.Generator,
    length: str,
    split: str = "train",
) -> str:
    """Describe a moment: "short" a few words, "sentence", or "paragraph" of at most 135 words."""
    say = {key: pick(WORDS[key][scene[key]], rng, split) for key in WORDS}
    who = f"with {say['monster']}"
    plain = scene["air"] == "plain"
    if length == "short":
        parts = [say["theme"], who] + ([] if plain and rng.random() < 0.8 else [say["air"]])
        if rng.random() < 0.5:
            parts.append(say["scenario"])
        head, rest = parts[0], parts[1:]
        rng.shuffle(rest)
        return ", ".join([head, *rest]) if rng.random() < 0.7 else ", ".join([*rest, head])
    happens = pick(EVENTS[event(state)], rng, split)
    act = f"the player {MOTIONS[int(state.get('action', 0)) % len(MOTIONS)]}"
    air = "" if plain and rng.random() < 0.6 else f" {say['air']}"
    first = (
        f"{say['scenario']} in {say['theme']}{air}, {who}; {happens}.",
        f"in {say['theme']}{air}, {act}, {say['scenario']}, {who}; {happens}.",
        f"{act} in {say['theme']}{air}, {who}, {say['scenario']}; {happens}.",
        f"{happens} in {say['theme']}{air}, {who}: {say['scenario']}.",
    )[int(rng.integers(4))]
    first = first[0].upper() + first[1:]
    if length == "sentence":
        return first
    health, ammo = state.get("health", 100.0), state.get("ammo", 50.0)
    lines = [
        LOOKS[scene["theme"]],
        "The view is through the player's eyes, along a raised gun.",
        "Health is " + ("full" if health > 95 else "good" if health > 60 else "low") + ".",
        "There is " + ("plenty of" if ammo > 25 else "little" if ammo else "no") + " ammunition.",
    ]
    if state.get("foes", 0) > 1:
        lines.append("Several foes are in view.")
    rng.shuffle(lines)
    return " ".join([first, *lines])


def attributes(prompt: str) -> dict[str, str]:
    """Return the scene attributes that a prompt names; what a longer wording matches is used up."""
    return take_out(prompt.lower(), _PATTERNS)[1]


PLAIN = {"air": "plain"}  # where a prompt says nothing
LIKELY = {"scenario": "my_way_home", "theme": "brick hall", "monster": "none"} | PLAIN
_PATTERNS = compile_wordings(WORDS, {}, ALIASES)
