"""The maps of `worldsim/Doom-v0`: every scenario in every theme with every monster, as one WAD.

Geometry comes from the scenarios that ViZDoom brings, whose maps are text (UDMF). Their textures,
light and sky are replaced, their scripts left out: the rules are actors, see `doom_rules`.

References:
    https://zdoom.org/wiki/UDMF
"""

import re
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from worldsim.envs.doom_rules import GATE, GOAL, KIT, SECTOR, SPAWNER, SPOT, write_rules
from worldsim.envs.doom_scenes import CHOICES, SCENARIOS, THEMES
from worldsim.envs.wad import Lump, read_wad, write_wad

CROWD = {"take_cover": (3, 3), "health_gathering": (3, 0), "defend_the_center": (3, 3)}
STARTS = {
    "take_cover": [(-416, y) for y in range(96, 700, 96)],
    "health_gathering": [(x, y) for x in (208, 608, 1008) for y in (208, 608, 1008)],
    "defend_the_center": [(0, 0)],
}


def map_name(scene: dict[str, str]) -> str:
    """Return the name of a scene's map, eight letters at most."""
    keys = ("scenario", "theme", "monster")
    return "S" + "".join(str(CHOICES[key].index(scene[key])) for key in keys)


def write_maps(path: Path) -> None:
    """Write all maps and rules to `path`."""
    rules = write_rules({scenario: len(outline(scenario)[1]) for scenario in SCENARIOS})
    lumps: list[Lump] = [("DECORATE", rules.encode()), ("TEXTURES", _textures().encode())]
    levels = 'gameinfo\n{\nplayerclasses = "WorldPlayer"\n}\n'
    maps: list[Lump] = []
    for scenario in SCENARIOS:
        source = _source(scenario)
        text = source["TEXTMAP"].decode("ascii")
        for theme, monster in product(THEMES, CHOICES["monster"]):
            name = map_name({"scenario": scenario, "theme": theme, "monster": monster})
            levels += f'map {name} "{name}"\n{{\nsky1 = "{THEMES[theme].sky}"\n}}\n'
            themed = _dress(text, theme) + _things(scenario, monster, text)
            maps += [
                (name, b""), ("TEXTMAP", themed.encode()), ("ZNODES", source["ZNODES"]),
                ("ENDMAP", b""),
            ]  # fmt: skip
    write_wad(path, [*lumps, ("MAPINFO", levels.encode()), *maps])


@cache
def outline(scenario: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the walls `(n, 2, 2)` of a scenario's map and the places to walk to `(m, 2)`."""
    text = _source(scenario)["TEXTMAP"].decode("ascii")
    corner = [[float(_value(b, k)) for k in "xy"] for b in _blocks(text, "vertex")]
    lines = [b for b in _blocks(text, "linedef") if "blocking" in b]
    walls = [[corner[int(_value(b, k))] for k in ("v1", "v2")] for b in lines]
    return np.array(walls), np.array(_spots(text, scenario), float)


def _source(scenario: str) -> dict[str, bytes]:
    """Return the lumps of a scenario that ViZDoom brings."""
    import vizdoom

    return dict(read_wad(Path(vizdoom.scenarios_path) / f"{scenario}.wad"))


def _blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"\b{kind}\b[^{{]*\{{([^}}]*)\}}", text)


def _value(block: str, key: str) -> str:
    return re.search(rf"\b{key}\s*=\s*([^;]+);", block)[1].strip()


def _spots(text: str, scenario: str) -> list[tuple[float, float]]:
    """Return where an episode may begin: the map's own spots, or those listed here."""
    if scenario in STARTS:
        return STARTS[scenario]
    spots = [b for b in _blocks(text, "thing") if _value(b, "type") == "9001"]
    return [(float(_value(b, "x")), float(_value(b, "y"))) for b in spots]


def _dress(text: str, theme: str) -> str:
    """Give a map a theme's surfaces and light, and take away what stands in it."""
    number, look = list(THEMES).index(theme), THEMES[theme]
    text = re.sub(r"\bthing\b[^{]*\{[^}]*\}", "", text)
    old = list(dict.fromkeys(re.findall(r'texturemiddle\s*=\s*"([^"]*)"', text)))
    count = iter(range(10**6))

    def wall(match: re.Match) -> str:
        """Rooms keep walls of their own; in a map of one texture the sides take turns."""
        k = old.index(match[1]) if len(old) > 1 else next(count)
        return f'texturemiddle = "WALL{number}{k % 3}"'

    text = re.sub(r'texturemiddle\s*=\s*"([^"]*)"', wall, text)
    text = re.sub(r'texturefloor\s*=\s*"[^"]*"', f'texturefloor = "FLOOR{number}"', text)
    ceiling = "F_SKY1" if look.ceiling == "F_SKY1" else f"ROOF{number}"
    text = re.sub(r'textureceiling\s*=\s*"[^"]*"', f'textureceiling = "{ceiling}"', text)
    text = re.sub(r"lightlevel\s*=\s*\d+", f"lightlevel = {look.light}", text)
    air = f"id = {SECTOR};\nlightcolor = {look.tint};\nfadecolor = {look.fog};\n"
    return re.sub(r"(\bsector\b[^{=;]*\{)", rf"\1\n{air}", text)


def _things(scenario: str, monster: str, text: str) -> str:
    """Place the player, the places to begin at, foes and what can be picked up."""
    spots = _spots(text, scenario)
    things = [(9001, x, y) for x, y in spots] + [(1, *spots[0])]
    gate = GATE + 100 * list(SCENARIOS).index(scenario) + CHOICES["monster"].index(monster)
    if scenario == "my_way_home":
        goal = next(b for b in _blocks(text, "thing") if _value(b, "type") == "2018")
        things += [(GOAL, float(_value(goal, "x")), float(_value(goal, "y")))]
        things += [(KIT + 10, x, y) for x, y in spots]
        gates = [(gate, x, y) for x, y in spots]
    else:
        now, later = CROWD[scenario]
        gates = [(gate + 50 * (i >= now), 0, 0) for i in range(now + later)]
    if scenario == "health_gathering":
        things += [(KIT, 0, 0)] * 16 + [(SPAWNER, 0, 0)]
    if monster != "none":
        things += gates
    skills = "".join(f"skill{i} = true;" for i in range(1, 6)) + "single = true;"
    line = "\nthing {{ id = {}; type = {}; x = {:.1f}; y = {:.1f}; {} }}"
    return "".join(line.format(SPOT + i, *thing, skills) for i, thing in enumerate(things))


def _textures() -> str:
    """Copies of Freedoom's textures, at twice their size and without their animation."""
    lines = []
    for i, theme in enumerate(THEMES.values()):
        for k, wall in enumerate(theme.walls):
            lines.append(_copy("walltexture", f"WALL{i}{k}", wall, 128))
        lines.append(_copy("flat", f"FLOOR{i}", theme.floor, 64))
        if theme.ceiling != "F_SKY1":
            lines.append(_copy("flat", f"ROOF{i}", theme.ceiling, 64))
    return "\n".join(lines)


def _copy(kind: str, name: str, source: str, side: int) -> str:
    """A square; the first of the two patches fills it where the source is half as wide."""
    patches = f'Patch "{source}", 64, 0 Patch "{source}", 0, 0'
    return f"{kind} {name}, {side}, {side} {{ XScale 0.5 YScale 0.5 {patches} }}"
