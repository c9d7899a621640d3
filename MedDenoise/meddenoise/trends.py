"""Second-order trends of windows: what is taken away before noise is measured in them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@functools.cache
def trend_basis(rows: int, columns: int) -> Floats:
    """Return an orthonormal basis (rows * columns, 6) of the polynomials of second order over a window."""
    j, i = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].reshape(2, -1)
    return np.asarray(np.linalg.qr(np.stack([np.ones_like(j), j, i, j * i, j * j, i * i], axis=1)).Q)


def detrended(windows: Floats) -> Floats:
    """Return windows (n, j, i) less the second-order polynomial that fits each best (AAPM TG-233), same unit."""
    flat = windows.reshape(len(windows), -1)
    basis = trend_basis(*windows.shape[1:])
    return np.asarray(flat - (flat @ basis) @ basis.T).reshape(windows.shape)


def variance_about_trend(windows: npt.NDArray[Any]) -> Floats:
    """Return the variance of windows (n, j, i) about the polynomial that fits each best, unbiased for white noise."""
    basis = trend_basis(*windows.shape[1:]).astype(windows.dtype)
    pixels, parameters = basis.shape
    flat = windows.reshape(len(windows), pixels)
    flat = flat - flat.mean(axis=1, keepdims=True)  # or single precision would not suffice
    left = np.einsum("ij,ij->i", flat, flat) - np.square(flat @ basis).sum(axis=1)
    return np.asarray(np.maximum(left.astype(np.float64), 0) / (pixels - parameters))
