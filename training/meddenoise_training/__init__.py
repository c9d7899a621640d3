"""Training of MedDenoise weights: prepare CT, add noise with the physics of CT, fit, export.

May import ``meddenoise``; ``meddenoise`` never imports this package.
"""

__version__ = "0.1.0"
