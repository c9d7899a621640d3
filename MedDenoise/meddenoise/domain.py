"""The domain guard: does this input look like what the model was trained for? Findings in plain sentences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One way in which an input leaves what the model was made for.

    :param code: stable, for programs: ``not_ct``, ``hu_scale``, ``kernel``, ``thickness`` ...
    :param sentence: what it is and what follows from it, for people.
    :param refused: the input is certainly no CT in HU: it is refused unless forced.
    """

    code: str
    sentence: str
    refused: bool = False
