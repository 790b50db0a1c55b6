"""For all tests: one thread, and every call of the packages checked against its annotations."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
import annotations as annotation_hook

# Tests run side by side, and the same sums in the same order give the same numbers.
torch.set_num_threads(1)
annotation_hook.install("worldjepa", "modalities")
