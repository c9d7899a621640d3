"""Peak memory of a denoised volume beyond torch, input and output (Linux alone tells it by process)."""

from __future__ import annotations

import json
import subprocess
import sys

from meddenoise.catalogue import shipped_models

SLICES = (100, 1000)

#: Runs in a process of its own, so that the peak is this run's alone; getrusage would pass on the parent's.
SCRIPT = """
import json, re, pathlib, sys, numpy as np
from meddenoise import Denoiser
def peak(): return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text()).group(1))
import torch
torch_alone = peak()
volume = np.full((int(sys.argv[2]), 512, 512), 40, np.int16)
output = np.zeros_like(volume)
output[:] = 1  # touched: counted as the output it will be
Denoiser(sys.argv[1], device="cpu").denoise(volume, output=output)
print(json.dumps([torch_alone, volume.nbytes + output.nbytes, peak()]))
"""


def memory_table() -> str:
    """Return the peaks in Markdown, MB (10^6 bytes)."""
    lines = [
        "| peak memory, 512 x 512 int16, CPU, MB | Python with torch | input and output | beyond both |",
        "|---|---|---|---|",
    ]
    for model in shipped_models():
        for slices in SLICES:
            command = [sys.executable, "-c", SCRIPT, model.name, str(slices)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            torch_alone, volumes, peak = json.loads(run.stdout)
            figures = " | ".join(f"{size / 1e6:.0f}" for size in (torch_alone, volumes, peak - torch_alone - volumes))
            lines.append(f"| {model.title}, {slices} slices | {figures} |")
    return "\n".join(lines)
