"""The whole fault-injection suite, and the table of what it has shown.

    python -m benchmarks.faults

Runs `tests/faults` in its full size (minutes to half an hour on two cores) and prints, for every fault, what was tried how
often; a test that fails ends the run with its output. The toy: a ViT of one block of width 24, 64 images of 32 pixels, 24
steps of 8, a checkpoint every fourth step.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def collect(record: Path) -> dict[str, list[tuple[str, int]]]:
    """What was shown for every fault: sentences with the number of trials, the same sentences together."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for line in record.read_text().splitlines():
        entry = json.loads(line)
        found[entry["fault"]][entry["what"]] += entry["trials"]
    order = sorted(found, key=lambda fault: int(re.sub(r"\D", "", fault) or 99))  # those without a number last
    return {fault: sorted(found[fault].items()) for fault in order}


def table(found: dict[str, list[tuple[str, int]]]) -> str:
    """The same as Markdown."""
    lines = ["| fault | what was shown | trials |", "|---|---|---|"]
    lines += [f"| {fault} | {what} | {trials:,} |" for fault, rows in found.items() for what, trials in rows]
    return "\n".join(lines)


def main() -> int:
    """Run the suite and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the size that CI runs")
    parser.add_argument("--processes", type=int, default=2, help="tests that run side by side")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        record = Path(name) / "record.jsonl"
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "WORLDJEPA_FAULTS": "quick" if options.quick else "full",
            "WORLDJEPA_FAULTS_RECORD": str(record),
        }
        began = time.perf_counter()
        command = [sys.executable, "-m", "pytest", "-n", str(options.processes), "tests/faults"]
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        seconds = time.perf_counter() - began
        if record.exists():
            found = collect(record)
            trials = sum(count for rows in found.values() for _, count in rows)
            print(table(found))
            print(f"\n{trials:,} trials of {len(found)} kinds in {seconds:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
