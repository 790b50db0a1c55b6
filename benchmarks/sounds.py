"""How many seconds of sound a data worker delivers a second, beside the bare decoder.

    python -m benchmarks.sounds --seconds 10 --files 24

Writes recordings of noise in every format and rate, then reads them in turns, one process, one thread: `decode` is soundfile
alone on the stretch that is wanted, `observe` all that a worker does: decode, mix, resample, spectrogram. CPU time, median of
rounds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.table import Table

from modalities.audio.files import SoundFiles, checked_view
from worldjepa.data.paths import PathTable

KINDS = {
    "wav, 16 kHz": ("wav", 16_000, 1),
    "wav, 44.1 kHz stereo": ("wav", 44_100, 2),
    "flac, 16 kHz": ("flac", 16_000, 1),
    "flac, 44.1 kHz stereo": ("flac", 44_100, 2),
    "ogg, 44.1 kHz stereo": ("ogg", 44_100, 2),
    "mp3, 44.1 kHz stereo": ("mp3", 44_100, 2),
}
FRONT_ENDS = {"mel_16k": 1_000, "kaldi_16k": 1_000, "kaldi_32k": 512}
"""Front ends and the frames that span about 10 seconds."""


def write(folder: Path, ending: str, rate: int, channels: int, seconds: float, files: int) -> list[str]:
    """Recordings of noise that falls off towards high frequencies, about as hard to pack as music."""
    rng = np.random.default_rng(0)
    names = []
    for number in range(files):
        wave = rng.standard_normal((round(seconds * rate), channels)).cumsum(0)
        wave -= wave.mean(0)
        names.append(f"{rate}-{channels}-{number}.{ending}")
        soundfile.write(folder / names[-1], 0.5 * wave / np.abs(wave).max(), rate)
    return names


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(title="seconds of sound a second and core (share of the bare decoder)")
    for heading in ("files", "decoder", *FRONT_ENDS):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as home:
        for kind, (ending, rate, channels) in KINDS.items():
            names = write(Path(home), ending, rate, channels, options.seconds, options.files)
            table.add_row(kind, *measure(Path(home), names, options.seconds, options.rounds))
    Console(width=130).print(table)


def measure(folder: Path, names: list[str], seconds: float, rounds: int) -> list[str]:
    """One row: the decoder alone, then every front end, in turns."""
    sources = {
        front: SoundFiles(str(folder), PathTable(names), checked_view(front, frames, seconds))
        for front, frames in FRONT_ENDS.items()
    }
    works: dict[str, Callable[[], object]] = {
        "decode": lambda: [soundfile.read(folder / name, dtype="float32") for name in names]
    }
    for front, files in sources.items():
        works[front] = lambda files=files: [files.observe(index) for index in range(len(files))]  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():  # once for nothing: filters are made, files come into memory
        work()
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(cpu_seconds(work))
    rates = {name: len(names) * seconds / statistics.median(spent) for name, spent in times.items()}
    bare = rates.pop("decode")
    return [f"{bare:,.0f}", *(f"{rate:,.0f} ({rate / bare:.0%})" for rate in rates.values())]


if __name__ == "__main__":
    main()
