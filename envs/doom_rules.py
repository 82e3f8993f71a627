"""The rules of `worldsim/Doom-v0`: actors, written in DECORATE, which needs no compiler.

References:
    https://zdoom.org/wiki/DECORATE_format_specifications
"""

from itertools import product

from worldsim.envs.doom_scenes import AIRS, MONSTERS, SCENARIOS, THEMES

SECTOR, SPOT = 7, 100  # tags: of every sector, and of the first place to begin at
GATE, KIT, SPAWNER, GOAL = 20000, 21000, 21001, 21002  # numbers of things on a map
# where a foe appears: x, y and the way it looks
PLACES = {
    "take_cover": ("random(-150, -60)", "random(40, 728)", "180"),
    "health_gathering": ("random(80, 1136)", "random(80, 1136)", "random(0, 359)"),
    "defend_the_center": ("random(420, 640)", "0", "random(0, 359)"),  # at that angle
}


def write_rules(beginnings: dict[str, int]) -> str:
    """Describe the actors: player, gun, pickups, foes and gates, beginnings, changes of the air.

    Args:
        beginnings: Places to begin at, by scenario.
    """
    parts = [_FIXED, *map(_foe, MONSTERS)]
    for (s, scenario), (m, monster) in product(enumerate(SCENARIOS), enumerate(MONSTERS, 1)):
        parts.append(_gate(scenario, monster, GATE + 100 * s + m))
    for scenario, count in beginnings.items():
        last = SPOT + count - 1
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
