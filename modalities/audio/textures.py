"""The embedded sounds: eight kinds of texture in time and pitch, played by formula; no download.

A bank of tones, one for each mel band, swells and fades as a texture says: what a picture would show as stripes is heard as
glides, trills or a chord, depending on how they are turned. Kinds have the same mean loudness in every band and at every
moment, and the same spread: nothing that is averaged over time tells them apart. What is left is how loud and soft are
arranged. Every part of a sound says something about every other part, which is what prediction from context needs.

Sounds of this sort, with a formula for the spectrogram, are known as ripples in hearing research.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex64, Float32, Int64
from numpy import ndarray

from worldjepa.data.textures import TEXTURES, Plane, placed

VERSION = 1
"""Part of the cache key: raise it whenever a change alters a single sample."""

SPLITS = ("train", "probe_train", "probe_val", "probe_test")
"""Each split has a random stream of its own. The order is part of the format."""

DENSITIES = 4
"""Classes of how close the parts of a texture stand."""

WAVELENGTH = (9.0, 18.0)
"""From one part of a texture to the next, in hops of time and bands of pitch."""

DEPTH = (1.0, 1.8)
"""Standard deviation of the logarithm of a tone's energy."""

_CHUNK = 32  # sounds at a time: the working set stays in the processor's cache


class Sounds(NamedTuple):
    """Waveforms and, for each factor, the class index of every sound."""

    waves: Float32[ndarray, "N S"]
    labels: dict[str, Int64[ndarray, " N"]]


def play_textures(
    count: int,
    hops: int,
    hop: int,
    pitches: Float32[ndarray, " K"],
    snr: tuple[float, float] = (10.0, 25.0),
    seed: int = 0,
    split: str = "train",
) -> Sounds:
    """Play `count` sounds of `hops` hops; the same arguments give the same sounds.

    Wavelength `WAVELENGTH`, rotation 0-180 degrees, phase at random, loud and soft exchanged at random, depth `DEPTH`;
    every tone lies anywhere within its band. White noise lies `snr` decibels below the tones. The
    labels are `"texture"` and `"density"`; textures are balanced to within one sound.

    Args:
        count: number of sounds.
        hops: length in hops.
        hop: samples of a hop.
        pitches: edges of the bands, in turns a sample: each tone lies between two of them.
        snr: least and largest distance of the noise, in decibels.
        seed: decides every sound.
        split: one of `SPLITS`.
    """
    first, rest = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split),)).spawn(2)
    texture = np.random.default_rng(first).permutation(np.arange(count) % len(TEXTURES)).astype(np.int64)
    starts = range(0, count, _CHUNK)
    parts = [
        _play_chunk(texture[start : start + _CHUNK], hops, hop, pitches, snr, np.random.default_rng(one))
        for start, one in zip(starts, rest.spawn(len(starts)), strict=True)
    ]
    labels = {name: np.concatenate([part.labels[name] for part in parts]) for name in parts[0].labels}
    return Sounds(np.concatenate([part.waves for part in parts]), labels)


def _play_chunk(
    texture: Int64[ndarray, " n"],
    hops: int,
    hop: int,
    pitches: Float32[ndarray, " K"],
    snr: tuple[float, float],
    rng: np.random.Generator,
) -> Sounds:
    n, bands = len(texture), len(pitches) - 1

    def uniform(low: float, high: float, *shape: int) -> Plane:
        return rng.uniform(low, high, (n, *(shape or (1, 1)))).astype(np.float32)

    density = uniform(0, 1)
    wavelength = np.float32(WAVELENGTH[0]) + density * np.float32(WAVELENGTH[1] - WAVELENGTH[0])
    level = placed(texture, (hops + 1, bands), uniform(0, np.pi), wavelength, uniform(-20, 20), uniform(-20, 20))
    level *= uniform(*DEPTH) * rng.choice(np.array([-1, 1], np.float32), (n, 1, 1))

    pitch = pitches[:-1] + uniform(0, 1, bands) * np.diff(pitches)  # [n, K]
    waves = _played(np.exp(level / 2), pitch, uniform(0, 1, bands), hop)
    waves /= waves.std(axis=1, keepdims=True)
    waves += 10 ** (-uniform(*snr, 1) / 20) * rng.standard_normal(waves.shape, dtype=np.float32)
    waves *= np.float32(0.1) / waves.std(axis=1, keepdims=True)
    return Sounds(waves, {"texture": texture, "density": (density[:, 0, 0] * DENSITIES).astype(np.int64)})


def _played(loudness: Plane, pitch: Float32[ndarray, "n K"], phase: Float32[ndarray, "n K"], hop: int) -> Plane:
    """The sum of the tones, `[n, S]`, whose loudness `[n, hops + 1, K]` is that at the hops and goes smoothly between them.

    Windows of two hops that add up to 1 follow one another; within each, loudness is constant and the sum over tones is a
    product of matrices.
    """
    n, times, _ = loudness.shape
    at = _turning(phase[:, None] + pitch[:, None] * (np.arange(times, dtype=np.float64) * hop)[:, None])  # [n, T, K]
    tones = _turning(pitch[..., None] * np.arange(-hop, hop, dtype=np.float64))  # [n, K, 2 hop]
    window = np.float32(0.5) - np.float32(0.5) * np.cos(np.arange(2 * hop, dtype=np.float32) * np.float32(np.pi / hop))
    frames = ((loudness * at) @ tones).real * window  # [n, T, 2 hop]
    waves = np.zeros((n, times + 1, hop), np.float32)
    waves[:, :-1] += frames[..., :hop]
    waves[:, 1:] += frames[..., hop:]
    return waves.reshape(n, -1)[:, hop : times * hop]  # from the first moment to the last


def _turning(turns: ndarray) -> Complex64[ndarray, ...]:
    return np.exp(2j * np.pi * (turns - np.floor(turns)).astype(np.float32)).astype(np.complex64)
