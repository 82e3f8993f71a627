"""What a Doom scene can be: how it looks, who lives there, what the game is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from worldsim.envs.scenes import checked


@dataclass(frozen=True)
class Theme:
    """Freedoom's textures and the light of a place; colours are 0xRRGGBB.

    Attributes:
        walls: Three textures, so that one wall can be told from another.
        floor: A flat.
        ceiling: A flat, or "F_SKY1" for the open sky.
        light: 0 to 255.
        tint: Colour of the light.
        fog: Colour that distance fades to; black where there is none.
        sky: Texture of the sky.
    """

    walls: tuple[str, str, str]
    floor: str
    ceiling: str
    light: int
    tint: int = 0xFFFFFF
    fog: int = 0x000000
    sky: str = "SKY1"


THEMES = {
    "brick hall": Theme(("BRICK12", "BRICK6", "BSTONE1"), "COMP01", "CEIL3_3", 240),
    "dark cave": Theme(("ROCK4", "TANROCK5", "STONE6"), "RROCK11", "RROCK16", 168),
    "lava hell": Theme(
        ("ROCK4", "SP_HOT1", "ROCKRED1"), "LAVA1", "F_SKY1", 240, 0xFFC8A0, sky="SKY3"
    ),
    "blue tech base": Theme(
        ("SHAWN2", "COMPBLUE", "ICKWALL1"), "FLAT14", "FLOOR0_6", 255, 0xA0B4FF
    ),
    "toxic sewer": Theme(("A-MOSBRI", "BROWNGRN", "SLADWALL"), "NUKAGE1", "FLAT1_1", 255, 0xC0FFA0),
    "marble temple outdoors": Theme(("MARBLE2", "GSTONE1", "MARBLE1"), "FLOOR7_2", "F_SKY1", 255),
    "foggy wooden house": Theme(
        ("WOOD3", "A-MYWOOD", "WOODVERT"), "CEIL3_1", "CEIL1_1", 168, fog=0xB0B0B8
    ),
    "red metal corridor": Theme(
        ("METAL1", "REDWALL", "SUPPORT3"), "FLOOR4_8", "MFLR8_1", 240, 0xFFA898, fog=0x601010
    ),
}


@dataclass(frozen=True)
class Monster:
    """A kind of foe and what it throws.

    Attributes:
        parent: The game's own actor.
        aim: Frames of its attack, as `sprite frame`.
        death: First frame of its death.
        ball: The actor of its fireball.
        health: Two bolts of the player's gun take 40.
        scale: Of its picture.
        ball_scale: Of its fireball's picture.
    """

    parent: str
    aim: str
    death: str
    ball: str
    health: int
    scale: float
    ball_scale: float


MONSTERS = {
    "imp": Monster("DoomImp", "TROO EFG", "TROO I", "DoomImpBall", 40, 1.3, 1.8),
    "demon": Monster("Demon", "SARG EFG", "SARG I", "PlasmaBall", 40, 1.3, 1.8),
    "cacodemon": Monster("Cacodemon", "HEAD BCD", "HEAD G", "CacodemonBall", 60, 1.1, 1.8),
    "baron": Monster("BaronOfHell", "BOSS EFG", "BOSS I", "BaronBall", 80, 1.2, 2.0),
    "mancubus": Monster("Fatso", "FATT GHI", "FATT K", "FatShot", 60, 1.0, 1.6),
    "zombie": Monster("ZombieMan", "POSS EFE", "POSS H", "DoomImpBall", 20, 1.5, 1.5),
}


@dataclass(frozen=True)
class Scenario:
    """A game: the map it is played on and what it pays.

    Attributes:
        living: Reward of a step.
        crowded: Share of drawn scenes with monsters.
    """

    living: float
    crowded: float


SCENARIOS = {
    "take_cover": Scenario(0.1, 1.0),
    "my_way_home": Scenario(-0.02, 0.6),
    "health_gathering": Scenario(0.1, 0.4),
    "defend_the_center": Scenario(0.0, 1.0),
}
AIRS = ("plain", "fog", "darkness", "red alarm")
CHOICES = {
    "scenario": tuple(SCENARIOS),
    "theme": tuple(THEMES),
    "monster": ("none", *MONSTERS),
    "air": AIRS,
}


def check_scene(scene: dict[str, Any] | None) -> dict[str, str]:
    """Return a copy of a partial scene of a level, once it is checked."""
    return checked(scene, CHOICES, "{'theme': 'lava hell'}", "simulator")


def draw_scene(rng: np.random.Generator, given: dict[str, str]) -> dict[str, str]:
    """Fill what is not given; what is given does not shift what is drawn."""
    scenario = str(rng.choice(list(SCENARIOS), p=(0.3, 0.3, 0.2, 0.2)))
    theme, monster = str(rng.choice(list(THEMES))), str(rng.choice(list(MONSTERS)))
    crowd, air = rng.random(), str(rng.choice(AIRS, p=(0.76, 0.08, 0.08, 0.08)))
    scenario = given.get("scenario", scenario)
    if crowd >= SCENARIOS[scenario].crowded:
        monster = "none"
    return {"scenario": scenario, "theme": theme, "monster": monster, "air": air} | given
