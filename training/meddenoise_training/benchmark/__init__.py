"""The benchmark: our weights, baselines and classical filters on the same slices, noise and tasks, in one report."""
