"""Classical filters to compare with: what Slicer offers, and the best of the libraries, each at its best."""

from meddenoise_training.peers.catalogue import all_peers, find_peers
from meddenoise_training.peers.peer import NoiseKnowledge, Peer
from meddenoise_training.peers.simpleitk import use_threads
from meddenoise_training.peers.tuning import TuningCase, read_tuned, tune, tuned_at_edge, write_tuned

__all__ = [
    "NoiseKnowledge",
    "Peer",
    "TuningCase",
    "all_peers",
    "find_peers",
    "read_tuned",
    "tune",
    "tuned_at_edge",
    "use_threads",
    "write_tuned",
]
