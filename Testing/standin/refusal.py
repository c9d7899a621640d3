"""How the stand-in says no: what it does not know is an error that names the source to check."""

from __future__ import annotations


class NotKnownError(AttributeError):
    """An attribute of Slicer, Qt or CTK that the stand-in was never checked against."""


def not_known(what: str, source: str) -> NotKnownError:
    """Return the error for `what`; `source` is the file of Slicer, CTK or PythonQt that decides whether it exists."""
    return NotKnownError(
        f"{what} is not known to the stand-in. Check that it exists in {source}; if it does, add it to Testing/standin."
    )
