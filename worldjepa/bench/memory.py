"""How much memory a piece of work takes at its peak."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

_MARK, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak() -> None:
    """Let the high-water mark of this process begin again at what it holds now, where the system can (Linux)."""
    try:
        _MARK.write_text("5")
    except OSError:  # there is no such file, or it may not be written: the mark is then that of the whole process
        return


def peak_mb() -> float:
    """The most resident memory, in MB, since `reset_peak`; where that cannot be told, since the process began."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:  # not Linux
        pass
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6
