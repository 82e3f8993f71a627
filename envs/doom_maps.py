"""The maps of `worldsim/Doom-v0`: every scenario in every theme with every monster, as one WAD.

Geometry comes from the scenarios that ViZDoom brings, whose maps are text (UDMF). Their textures,
light and sky are replaced, their scripts left out: the rules are actors, written in DECORATE, which
needs no compiler.

References:
    https://zdoom.org/wiki/UDMF, https://zdoom.org/wiki/DECORATE_format_specifications
"""

import re
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from worldsim.envs.doom_scenes import AIRS, CHOICES, MONSTERS, SCENARIOS, THEMES
from worldsim.envs.wad import Lump, read_wad, write_wad

SECTOR, SPOT = 7, 100  # tags: of every sector, and of the first place to begin at
GATE, KIT, SPAWNER, GOAL = 20000, 21000, 21001, 21002  # numbers of things on a map
# where a foe appears: x, y and the way it looks
PLACES = {
    "take_cover": ("random(-150, -60)", "random(40, 728)", "180"),
    "health_gathering": ("random(80, 1136)", "random(80, 1136)", "random(0, 359)"),
    "defend_the_center": ("random(420, 640)", "0", "random(0, 359)"),  # at that angle
}
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
    lumps: list[Lump] = [("DECORATE", _rules().encode()), ("TEXTURES", _textures().encode())]
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


def _rules() -> str:
    """The actors: player, gun, pickups, foes and their gates, beginnings, changes of the air."""
    parts = [_FIXED, *map(_foe, MONSTERS)]
    for (s, scenario), (m, monster) in product(enumerate(SCENARIOS), enumerate(MONSTERS, 1)):
        parts.append(_gate(scenario, monster, GATE + 100 * s + m))
    for scenario in SCENARIOS:
        last = SPOT + len(outline(scenario)[1]) - 1
        turn = "random(-20, 20)" if scenario == "take_cover" else "random(0, 359)"
        calls = [f"Teleport_NoFog(random({SPOT}, {last}))", f"A_SetAngle({turn})"]
        parts.append(_item(f"Begin_{scenario}", calls))
    parts += [_item(air_item(t, a), _air(t, a)) for t, a in product(THEMES, AIRS)]
    return "\n".join(parts)


def air_item(theme: str, air: str) -> str:
    """Return the name of the item that gives a theme's sectors an air."""
    return f"Air_{list(THEMES).index(theme)}{AIRS.index(air)}"


def _air(theme: str, air: str) -> list[str]:
    look = THEMES[theme]
    light = {"darkness": max(96, look.light * 7 // 16), "fog": 120}.get(air, look.light)
    tint = 0xFF4838 if air == "red alarm" else look.tint
    fog = {"darkness": 0, "fog": 0xA8A8B0}.get(air, look.fog)  # the less light, the thicker
    return [
        f"Light_ChangeToValue({SECTOR}, {light})",
        f"Sector_SetColor({SECTOR}, {_rgb(tint)})",
        f"Sector_SetFade({SECTOR}, {_rgb(fog)})",
    ]


def _rgb(colour: int) -> str:
    return ", ".join(str(part) for part in colour.to_bytes(3, "big"))


def _item(name: str, calls: list[str]) -> str:
    """An item that does something when `give name` hands it to the player."""
    states = "\n".join(f"        TNT1 A 0 {call}" for call in calls)
    return f"""
actor {name} : CustomInventory {{
    +INVENTORY.QUIET
    States {{
    Pickup:
{states}
        Stop
    }}
}}
"""


def _foe(monster: str) -> str:
    """A foe and its fireball, which hurts nobody but the player."""
    m = MONSTERS[monster]
    sprite, frames = m.aim.split()
    return f"""
actor Ball_{monster} : {m.ball} {{
    Speed 10
    Scale {m.ball_scale}
    Damage (12)
    DamageType "Foe"
    RenderStyle Normal
    SeeSound ""
    States {{
    Death:
        TNT1 A 0 A_SetScale(0.5)
        goto Super::Death
    }}
}}
actor Foe_{monster} : {m.parent} {{
    Health {m.health}
    Scale {m.scale}
    PainChance 60
    DropItem "WorldRounds" 255
    DamageFactor "Foe", 0
    +NOINFIGHTING
    +LOOKALLAROUND
    States {{
    Missile:
        {sprite} {frames[0]} 8 A_FaceTarget
        {sprite} {frames[1]} 8 A_FaceTarget
        {sprite} {frames[2]} 6 A_CustomMissile("Ball_{monster}", 32)
        goto See
    Melee:
        {sprite} {frames[0]} 8 A_FaceTarget
        {sprite} {frames[1]} 8 A_FaceTarget
        {sprite} {frames[2]} 6 A_CustomMeleeAttack(12)
        goto See
    }}
}}
"""


def _gate(scenario: str, monster: str, number: int) -> str:
    """Where a scenario's foes come from: at first, and some seconds after another has died.

    Gates stand at the map's origin and choose a place; in `my_way_home` each stands in a room, and
    lets a foe in with some chance if the player does not see it.
    """
    name, death = f"{scenario}_{monster}", MONSTERS[monster].death
    come = f'TNT1 A 1 A_SpawnItemEx("Foe_{name}", 0, 0, 0, 0, 0, 0, 0)'
    if scenario == "my_way_home":
        speed, heir = 0, ""
        gate = f"""
        TNT1 A 3
        TNT1 A 0 A_Jump(190, "Shut")
        TNT1 A 0 A_CheckSight("Come")
    Shut:
        TNT1 A 1
        Stop
    Come:
        {come}"""
    else:
        x, y, angle = PLACES[scenario]
        speed = 0 if scenario == "take_cover" else 5
        heir = f'A_SpawnItemEx("Later_{name}", -x, -y, 0, 0, 0, 0, 0, {_EXACT})'
        flags = "0" if scenario == "defend_the_center" else "SXF_ABSOLUTEPOSITION"
        gate = f'TNT1 A 1 A_SpawnItemEx("Arrive_{name}", {x}, {y}, 0, 0, 0, 0, {angle}, {flags})'
    return f"""
actor Foe_{name} : Foe_{monster} {{
    Speed {speed}
    States {{
    Death:
        {death} 0 {heir}
        goto Super::Death
    }}
}}
actor Gate_{name} {number} {{
    States {{
    Spawn:
        TNT1 A 1
    Open:
        {gate}
        Stop
    }}
}}
actor Later_{name} : Gate_{name} {number + 50} {{
    States {{
    Spawn:
        TNT1 A random(70, 280)
        goto Open
    }}
}}
actor Arrive_{name} {{
    States {{
    Spawn:
        TNT1 A 10 A_SpawnItemEx("WorldFlash")
        {come}
        Stop
    }}
}}
"""


_EXACT = "SXF_ABSOLUTEPOSITION | SXF_NOCHECKPOSITION"
_ANYWHERE = "random(40, 1176), random(40, 1176), 0, 0, 0, 0, 0, SXF_ABSOLUTEPOSITION"
_FIXED = f"""
actor WorldPlayer : DoomPlayer {{
    +BUDDHA
    DamageFactor "Slime", 0.4
    Player.StartItem "WorldGun"
    Player.StartItem "Clip", 50
    Player.WeaponSlot 1, WorldGun
}}
actor WorldBolt : PlasmaBall {{
    Speed 28
    Radius 12
    Scale 0.8
    Damage (20)
    RenderStyle Normal
    SeeSound ""
    States {{
    Death:
        PLSE A 0 A_SetScale(0.5)
        PLSE AB 3 Bright
        Stop
    }}
}}
actor WorldGun : Weapon {{
    Weapon.AmmoType "Clip"
    Weapon.AmmoUse 1
    Weapon.BobStyle "Normal"
    +WEAPON.NOALERT
    States {{
    Ready:
        PISG A 1 A_WeaponReady
        Loop
    Deselect:
        PISG A 1 A_Lower
        Loop
    Select:
        PISG A 1 A_Raise
        Loop
    Fire:
        PISG A 1
        PISG B 3 Bright A_FireCustomMissile("WorldBolt")
        PISG C 4
        PISG A 0 A_ReFire
        goto Ready
    }}
}}
actor WorldFlash : TeleportFog {{
    Scale 0.8
    States {{
    Spawn:
        TFOG ABCDE 3 Bright
        Stop
    }}
}}
actor WorldRounds : Clip {{
    Inventory.Amount 10
    Scale 2.0
}}
actor WorldKit : Medikit {{
    Inventory.Amount 25
    Scale 1.7
    Radius 28
}}
actor WorldKits {KIT} {{
    States {{
    Spawn:
        TNT1 A 1
        TNT1 A 0 A_SpawnItemEx("WorldKit", {_ANYWHERE})
        Stop
    }}
}}
actor WorldSpawner {SPAWNER} {{
    States {{
    Spawn:
        TNT1 A 70
        TNT1 A 0 A_SpawnItemEx("WorldKit", {_ANYWHERE})
        Loop
    }}
}}
actor WorldStray {KIT + 10} {{
    States {{
    Spawn:
        TNT1 A 1
        TNT1 A 0 A_SpawnItemEx("WorldKit", random(-50, 50), random(-50, 50), 0, 0, 0, 0, 0, 0, 190)
        Stop
    }}
}}
actor WorldGoal : GreenArmor {GOAL} {{
    Scale 1.6
    Radius 28
}}
"""
