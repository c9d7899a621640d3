"""`make benchmark`: speed of the engine beside the bare network, the processor, peers and the worker; peak memory.

Absolute times belong to one machine on one day; ratios within a run carry over. Take them while nothing else runs.
"""

from __future__ import annotations

import argparse

from tools.benchmark.memory import memory_table
from tools.benchmark.speed import speed_table


def main() -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmark", description=__doc__)
    parser.add_argument("--slices", type=int, default=100, help="of the volume that is denoised, 512 x 512")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, of which the median is taken")
    arguments = parser.parse_args()
    print(speed_table(arguments.slices, arguments.repeats), end="\n\n", flush=True)
    print(memory_table())


if __name__ == "__main__":
    main()
