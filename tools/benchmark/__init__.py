"""Speed and memory, as ratios within one run: ``make benchmark``."""
