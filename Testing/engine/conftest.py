"""What the tests of the engine share lies beside them (``dicom_files``)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
