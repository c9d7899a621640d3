"""All peers that can be used here, found by name, with tuned parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from meddenoise.errors import InputError
from meddenoise_training.peers.bm3d import bm3d_peers, is_installed
from meddenoise_training.peers.nonlocal_means import nonlocal_means_peer
from meddenoise_training.peers.peer import Peer
from meddenoise_training.peers.simpleitk import simpleitk_peers
from meddenoise_training.peers.total_variation import total_variation_peer
from meddenoise_training.peers.tuning import read_tuned

_INSTALL = 'pip install -e "./training[bm3d]"'


def all_peers() -> list[Peer]:
    """Return all peers with the parameters they come with, also those whose package is not installed."""
    return [*simpleitk_peers(), nonlocal_means_peer(), total_variation_peer(), *bm3d_peers()]


def find_peers(names: Sequence[str] | None, tuned: Path | None, report: Callable[[str], None]) -> list[Peer]:
    """Return peers; one whose package is not installed is told in one line and left out.

    :param names: which; None for all.
    :param tuned: JSON file that :func:`~meddenoise_training.peers.tuning.write_tuned` wrote; None: the parameters they
        come with.
    :raises InputError: for a name that there is not, or a file that is not that.
    """
    peers = {peer.name: peer for peer in all_peers()}
    unknown = [name for name in names or () if name not in peers]
    if unknown:
        raise InputError(f"There is no peer '{unknown[0]}'; there are: {', '.join(peers)}.")
    chosen = list(peers.values()) if names is None else [peers[name] for name in dict.fromkeys(names)]
    if not is_installed():
        missing = {peer.name for peer in bm3d_peers()} & {peer.name for peer in chosen}
        chosen = [peer for peer in chosen if peer.name not in missing]
        if missing:
            report(
                f"Left out: {', '.join(sorted(missing))}; `{_INSTALL}` in the source tree installs the package bm3d "
                "(non-commercial use)."
            )
    best = read_tuned(tuned) if tuned else {}
    return [dataclasses.replace(peer, tuned=best.get(peer.name, ())) for peer in chosen]
