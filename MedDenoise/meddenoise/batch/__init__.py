"""Many series in one go, on one machine or a cluster, resumable.

What lies in a folder (`inventory`), what became of each series (`outcome`, kept in `manifest` under a `lock`), a series
written so that a crash cannot hurt it (`saving`), all of them on one machine (`pipeline`) or through Dask (`cluster`),
and the order in which this happens (`run`).
"""

from __future__ import annotations

from meddenoise.batch.run import Summary, run_batch

__all__ = ["Summary", "run_batch"]
