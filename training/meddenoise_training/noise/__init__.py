"""Noise models, one a file: batches of noise in HU on demand, seeded by an explicit ``torch.Generator``."""
