"""Body and clothes of the figures in a synthetic scene."""

from __future__ import annotations

from typing import NamedTuple

from tracking.synthetic.elements import Color

__all__ = ["WARDROBE", "Appearance", "darker", "mix_uniform"]


class Appearance(NamedTuple):
    """Body and clothes of a figure. Colours are BGR; `tall` and `broad` are relative to the average."""

    skin: Color
    hair: Color
    hair_style: str
    torso: Color
    accent: Color
    pattern: str
    sleeves: str
    legs: Color
    leg_style: str
    shoes: Color
    backpack: Color | None
    tall: float
    broad: float


_FAIR, _TAN, _BROWN, _DARK = (178, 198, 232), (130, 165, 214), (84, 118, 172), (52, 74, 112)
_BLACK, _WHITE, _GREY = (34, 32, 32), (232, 234, 236), (128, 126, 124)
_RED, _ORANGE, _YELLOW, _GREEN = (40, 36, 196), (32, 122, 232), (52, 206, 236), (70, 140, 54)
_TEAL, _BLUE, _NAVY, _PURPLE = (150, 146, 32), (196, 104, 36), (92, 48, 28), (142, 52, 112)
_PINK, _BEIGE, _OLIVE, _MAROON, _SKY = (176, 132, 236), (166, 196, 216), (44, 104, 108), (44, 24, 104), (224, 190, 130)
_BLOND, _AUBURN, _SILVER = (110, 178, 220), (38, 62, 134), (188, 188, 190)
WARDROBE: tuple[Appearance, ...] = (
    Appearance(_FAIR, _AUBURN, "long", _ORANGE, _WHITE, "plain", "long", _NAVY, "trousers", _WHITE, None, 0.97, 0.95),
    Appearance(
        _DARK, _BLACK, "short", _WHITE, _BLUE, "stripes across", "short", _BEIGE, "trousers", _BLACK, None, 1.04, 1.1
    ),
    Appearance(_TAN, _BLACK, "short", _GREEN, _YELLOW, "checks", "long", _BLACK, "trousers", _GREY, None, 1.0, 1.0),
    Appearance(_FAIR, _BLOND, "short", _NAVY, _RED, "jacket", "long", _GREY, "trousers", _BLACK, _RED, 1.05, 1.05),
    Appearance(
        _BROWN, _BLACK, "long", _YELLOW, _PURPLE, "stripes down", "short", _PURPLE, "skirt", _BLACK, None, 0.95, 0.92
    ),
    Appearance(
        _TAN, _SILVER, "bald", _MAROON, _BEIGE, "two-tone", "long", _OLIVE, "trousers", _BROWN, None, 0.99, 1.15
    ),
    Appearance(_FAIR, _BLACK, "cap", _TEAL, _WHITE, "plain", "short", _BLUE, "shorts", _WHITE, _BLACK, 1.02, 1.0),
    Appearance(
        _BROWN, _BLACK, "short", _PINK, _BLACK, "stripes across", "long", _WHITE, "trousers", _PINK, None, 0.98, 0.97
    ),
    Appearance(
        _DARK, _BLACK, "long", _BLUE, _YELLOW, "two-tone", "long", _MAROON, "trousers", _YELLOW, None, 0.96, 0.95
    ),
    Appearance(_TAN, _AUBURN, "short", _GREY, _ORANGE, "jacket", "long", _BLUE, "trousers", _WHITE, None, 1.03, 1.08),
    Appearance(_FAIR, _SILVER, "long", _PURPLE, _PINK, "checks", "long", _GREY, "skirt", _MAROON, None, 0.94, 1.0),
    Appearance(_BROWN, _BLACK, "cap", _RED, _BLACK, "checks", "short", _BEIGE, "shorts", _RED, _OLIVE, 1.0, 1.05),
    Appearance(_FAIR, _BLACK, "short", _BLACK, _GREY, "plain", "long", _BLACK, "trousers", _WHITE, None, 1.03, 1.0),
    Appearance(_DARK, _BLACK, "bald", _RED, _WHITE, "stripes down", "short", _NAVY, "trousers", _RED, None, 1.01, 1.1),
    Appearance(_TAN, _BLOND, "long", _SKY, _WHITE, "plain", "long", _WHITE, "skirt", _BEIGE, None, 0.96, 0.94),
    Appearance(
        _BROWN, _BLACK, "short", _OLIVE, _ORANGE, "two-tone", "long", _BLACK, "trousers", _OLIVE, _BLUE, 1.02, 1.04
    ),
    Appearance(
        _FAIR, _AUBURN, "cap", _BEIGE, _GREEN, "stripes across", "long", _GREEN, "trousers", _BLACK, None, 0.98, 1.06
    ),
    Appearance(_TAN, _BLACK, "long", _BLACK, _TEAL, "jacket", "long", _TEAL, "trousers", _TEAL, None, 0.97, 0.96),
)
_UNIFORM = (_NAVY, _GREY, _BLACK)  # torso, accent and legs of all figures if similar_clothes is 1


def mix_uniform(appearance: Appearance, share: float) -> Appearance:
    """Return an appearance whose clothes are mixed with the uniform: `share` 0 keeps them, 1 is the uniform."""

    def mixed(color: Color, common: Color) -> Color:
        blue, green, red = (round(a * (1 - share) + b * share) for a, b in zip(color, common, strict=True))
        return blue, green, red

    return appearance._replace(
        torso=mixed(appearance.torso, _UNIFORM[0]),
        accent=mixed(appearance.accent, _UNIFORM[1]),
        legs=mixed(appearance.legs, _UNIFORM[2]),
        shoes=mixed(appearance.shoes, _BLACK),
        pattern="plain" if share > 0.66 else appearance.pattern,
        leg_style="trousers" if share > 0.66 else appearance.leg_style,
        backpack=None if share > 0.33 else appearance.backpack,
    )


def darker(color: Color, factor: float) -> Color:
    """Return a colour whose channels are multiplied by a factor."""
    blue, green, red = (min(255, round(value * factor)) for value in color)
    return blue, green, red
