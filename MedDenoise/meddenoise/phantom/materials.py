"""What the body is made of: HU and labels of its tissues, and a part, a solid made of one of them."""

from __future__ import annotations

from dataclasses import dataclass

from meddenoise.phantom.solids import Solid

#: Labels; 0 is everything that is mixed (edges) or not listed (small vessels, cortical bone, skin).
ORGANS = {
    "air": 1,
    "fat": 2,
    "muscle": 3,
    "liver": 4,
    "spleen": 5,
    "pancreas": 6,
    "kidney cortex": 7,
    "kidney medulla": 8,
    "aorta": 9,
    "veins": 10,
    "trabecular bone": 11,
    "bowel and stomach": 12,
    "gas": 13,
    "gallbladder": 14,
    "liver lesion": 15,
    "pancreas lesion": 16,
    "lung": 17,
}
AIR, FAT, MUSCLE, LIVER, LUNG = -1000.0, -100.0, 55.0, 110.0, -850.0
CORTICAL, TRABECULAR, DISC = 750.0, 200.0, 85.0
AORTA, VEIN, GAS, BOWEL_WALL = 160.0, 165.0, -950.0, 85.0


@dataclass(frozen=True)
class Part:
    """A solid made of one material.

    :param texture: standard deviation of the material's texture (HU).
    """

    solid: Solid
    hu: float
    organ: str | None = None
    texture: float = 0.0
