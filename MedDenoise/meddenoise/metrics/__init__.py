"""What a denoiser is judged by: image quality, texture, sharpness, detectability, residual structure, intervals."""

from __future__ import annotations

from meddenoise.metrics.image_quality import ABDOMEN, Window, bias, psnr, rmse, sd_reduction, ssim, tissue_bias
from meddenoise.metrics.intervals import (
    Interval,
    jackknife_interval,
    paired_difference,
    patient_mean,
    percentile_interval,
)
from meddenoise.metrics.noise_power import (
    NoisePower,
    mean_frequency_shift,
    noise_power,
    noise_power_of_difference,
    noise_reduction_profile,
    regions_inside,
)
from meddenoise.metrics.observers import (
    Detection,
    area_under_curve,
    auc_gain,
    channelised_hotelling,
    lg_channels,
    matched_filter,
    npw_detectability,
    score_detectability,
)
from meddenoise.metrics.residual import edge_correlation
from meddenoise.metrics.transfer import TransferFunction, task_transfer

__all__ = [
    "ABDOMEN",
    "Detection",
    "Interval",
    "NoisePower",
    "TransferFunction",
    "Window",
    "area_under_curve",
    "auc_gain",
    "bias",
    "channelised_hotelling",
    "edge_correlation",
    "jackknife_interval",
    "lg_channels",
    "matched_filter",
    "mean_frequency_shift",
    "noise_power",
    "noise_power_of_difference",
    "noise_reduction_profile",
    "npw_detectability",
    "paired_difference",
    "patient_mean",
    "percentile_interval",
    "psnr",
    "regions_inside",
    "rmse",
    "score_detectability",
    "sd_reduction",
    "ssim",
    "task_transfer",
    "tissue_bias",
]
