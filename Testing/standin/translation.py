"""slicer.i18n: texts pass through untranslated, placeholders unchanged.

Checked against Base/Python/slicer/i18n.py (tr, translate): without a translation file both return their text.
Stricter here: only a str is accepted, since lupdate can extract literals alone.
"""

from __future__ import annotations


def tr(text: str) -> str:
    """Return the text as Slicer does where no language pack is installed."""
    if not isinstance(text, str):
        raise TypeError(f"slicer.i18n.tr takes a str, not {type(text).__name__}")
    return text


def translate(context: str, text: str) -> str:
    """Return the text; the context is only used to look up a translation."""
    if not isinstance(context, str) or not isinstance(text, str):
        raise TypeError("slicer.i18n.translate takes a context and a text, both str")
    return text
