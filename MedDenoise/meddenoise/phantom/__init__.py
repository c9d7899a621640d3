"""The numerical abdomen: a contrast-enhanced upper abdomen whose true HU are known, for tests, demo and sample data.

Organs are solids given by signed distances in mm; each slice is painted from the outside in, every edge over about
one pixel (partial volume). Axes are those of an axial CT: x to the patient's left, y to the back, z to the head; x and
y are 0 in the middle of the image, z in the middle of the volume, which is level with the pancreas.
"""

from __future__ import annotations

from meddenoise.phantom.abdomen import Phantom, numerical_abdomen
from meddenoise.phantom.materials import ORGANS
from meddenoise.phantom.organs import LIVER_LESIONS, PANCREAS_LESION

__all__ = ["LIVER_LESIONS", "ORGANS", "PANCREAS_LESION", "Phantom", "numerical_abdomen"]
