"""``python -m meddenoise.cli``."""

from __future__ import annotations

from meddenoise.cli.app import main

if __name__ == "__main__":
    main()
