"""The command line ``meddenoise-train``: parses and prints, nothing else.

One command a file; `app` puts them together.
"""

from __future__ import annotations

from meddenoise_training.cli.app import app, main

__all__ = ["app", "main"]
