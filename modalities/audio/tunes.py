"""The embedded sounds: six tunes of the same four notes, played by formula; no download.

A tune repeats four notes in one of the six cyclic orders that four notes have. Pitch, size of the steps, tempo, beginning,
timbre, envelope and noise are free. All tunes hold the same notes equally long, so that no statistic of the spectrum over time
tells them apart: the order has to be heard. Every part of a sound says something about every other part, since the tune
repeats, which is what prediction from context needs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray
from numpy.typing import NDArray

VERSION = 6
"""Part of the cache key: raise it whenever a change alters a single sample."""

SPLITS = ("train", "probe_train", "probe_val", "probe_test")
"""Each split has a random stream of its own. The order is part of the format."""

TUNES: dict[str, tuple[int, int, int, int]] = {
    "1234": (0, 1, 2, 3),
    "1243": (0, 1, 3, 2),
    "1324": (0, 2, 1, 3),
    "1342": (0, 2, 3, 1),
    "1423": (0, 3, 1, 2),
    "1432": (0, 3, 2, 1),
}
"""The order of the notes, from low to high. The position here is the class index."""

SPACING = (720.0, 900.0)
"""Mel from one partial of a note to the next: more than four steps, so that tunes do not run into one another."""

GROWL = 75.0
"""Mel by which every partial trills up and down, faster than can be followed: it fills a band instead of a line."""

GROWL_RATE = 90.0
"""How often a second it does so."""

JITTER = 3.0
"""Decibels between the softest and the loudest that a partial of a note can be."""

STEPS = 4
"""Classes of tempo and register."""

Wave = NDArray[np.floating[Any]]
"""One row a sound, `[n, S]`."""

_CHUNK = 32  # sounds at a time: the working set stays in the processor's cache


class Sounds(NamedTuple):
    """Waveforms and, for each factor, the class index of every sound."""

    waves: Float32[ndarray, "N S"]
    labels: dict[str, Int64[ndarray, " N"]]


def play_tunes(
    count: int,
    samples: int,
    rate: int = 16_000,
    snr: tuple[float, float] = (6.0, 6.0),
    seed: int = 0,
    split: str = "train",
) -> Sounds:
    """Play `count` tunes of `samples` samples; the same arguments give the same sounds.

    Notes last 80 to 140 ms. The partials of a note are 720 to 900 mel apart; the lowest note begins at 100 mel and up to one
    such spacing above, the steps are 110 to 170 mel. Noise is white, its level `snr` decibels below the tune's. Classes of
    tune are balanced to within one sound.
    """
    stream = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split),))
    first, rest = stream.spawn(2)
    tune = np.random.default_rng(first).permutation(np.arange(count) % len(TUNES)).astype(np.int64)
    starts = range(0, count, _CHUNK)
    parts = [
        _play_chunk(tune[start : start + _CHUNK], samples, rate, snr, np.random.default_rng(one))
        for start, one in zip(starts, rest.spawn(len(starts)), strict=True)
    ]
    labels = {name: np.concatenate([part.labels[name] for part in parts]) for name in parts[0].labels}
    return Sounds(np.concatenate([part.waves for part in parts]), labels)


def _play_chunk(
    tune: Int64[ndarray, " n"], samples: int, rate: int, snr: tuple[float, float], rng: np.random.Generator
) -> Sounds:
    n = len(tune)
    drawn = {name: rng.random((n, 1)) for name in ("tempo", "register", "spacing", "step", "start", "snr")}
    length = 0.080 * (140 / 80) ** drawn["tempo"]  # of a note, in seconds
    spacing = _between(SPACING, drawn["spacing"])
    base = 100 + spacing * drawn["register"]
    step = 110 + 60 * drawn["step"]

    note = np.arange(samples) / (rate * length) + 4 * drawn["start"]  # [n, S], in notes since some time
    index = note.astype(np.int32)
    within = (note - index).astype(np.float32)
    played = base + step * np.array(list(TUNES.values()))[tune]  # [n, 4], in mel
    wave = _partials(played, spacing, index, rate, rng)
    wave *= np.minimum(np.minimum(within, 1 - within) * np.float32(12), np.float32(1))  # soft edges, not clicks
    wave /= wave.std(axis=1, keepdims=True)
    wave += rng.standard_normal((n, samples), dtype=np.float32) * (10 ** (-_between(snr, drawn["snr"]) / 20)).astype(
        np.float32
    )
    wave *= np.float32(0.1) / wave.std(axis=1, keepdims=True)
    labels = {
        "tune": tune,
        "tempo": _binned(drawn["tempo"]),
        "register": _binned(drawn["register"]),
    }
    return Sounds(wave, labels)


def mel_to_hertz(mel: Wave) -> Wave:
    """The frequency at a place on the mel scale (O'Shaughnessy)."""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def _partials(played: Wave, spacing: Wave, index: NDArray[np.int32], rate: int, rng: np.random.Generator) -> Wave:
    """The sum of all partials, `[n, S]`: sines a fixed way apart on the mel scale, from one end of hearing to the other.

    Every partial of every note has a loudness of its own, so that no single part of the spectrogram tells much.
    """
    ceiling = 2595.0 * np.log10(1 + 0.48 * rate / 700.0)
    degree = index & 3
    growl = np.sin(np.arange(index.shape[1], dtype=np.float32) * np.float32(2 * np.pi * GROWL_RATE / rate))
    wave = np.zeros(index.shape, np.float32)
    for place in range(-1, int(ceiling / SPACING[0]) + 1):
        mel = played + place * spacing  # [n, 4]
        steps = np.where(
            (mel > 30 + GROWL) & (mel < ceiling - GROWL), mel_to_hertz(mel) / rate, 0.0
        )  # 0 is silent: the sine stands still
        width = (steps + 700.0 / rate) * (GROWL * np.log(10) / 2595.0) * (steps > 0)  # the same in turns a sample
        speed = np.take_along_axis(steps, degree, axis=1)
        speed += np.take_along_axis(width, degree, axis=1) * growl
        turns = np.cumsum(speed, axis=1)
        turns -= np.floor(turns)
        loudness = 10 ** ((rng.random((len(index), int(index.max()) + 1)) - 0.5) * JITTER / 20)
        loudness = loudness.astype(np.float32) * (steps > 0)[:, np.arange(loudness.shape[1]) & 3]
        wave += np.sin(turns.astype(np.float32) * np.float32(2 * np.pi)) * np.take_along_axis(loudness, index, axis=1)
    return wave


def _between(bounds: tuple[float, float], fraction: Wave) -> Wave:
    return bounds[0] + (bounds[1] - bounds[0]) * fraction


def _binned(fraction: Wave) -> Int64[ndarray, " n"]:
    return (fraction[:, 0] * STEPS).astype(np.int64)
