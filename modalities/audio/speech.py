"""The embedded words: twenty short words, spoken by many voices in loud noise; see `modalities.audio.espeak`.

What is learnt and what probes are trained on are the same voices; they are chosen and tested on voices that were never heard.
Accent, speed, pitch, beginning, colour and level of the noise are free.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray
from numpy.typing import NDArray

from modalities.audio.espeak import Spoken, Utterance, speak
from modalities.audio.resample import resample

VERSION = 1
"""Part of the cache key: raise it whenever a change alters a single sample."""

SPLITS = ("train", "probe_train", "probe_val", "probe_test")
"""Each split has a random stream of its own. The order is part of the format."""

WORDS = (
    *("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
)
"""The position here is the class index."""

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029", "en-gb-x-rp")
"""Heard in every split; `en` is British."""

FEMALE = (
    *("Alicia", "Andrea", "Annie", "anika", "aunty", "belinda", "f1", "f2", "f3", "f4", "f5", "grandma"),
    *("linda", "steph", "steph2", "steph3"),
)
MALE = (
    *("Alex", "Andy", "Denis", "Lee", "Michael", "Mike", "benjamin", "boris", "m1", "m2", "m3", "m4", "m5"),
    *("m6", "m7", "max"),
)
VOICES = {"female": FEMALE, "male": MALE}
"""Variants of eSpeak NG's that sound like people, by kind. The position of the kind is the class index."""

SHARES = {"train": 10, "probe_train": 10, "probe_val": 3, "probe_test": 3}
"""Voices of each kind in a split; the first two splits share theirs, the others share none."""

SPEED = (130, 200)
"""Words a minute."""

PITCH = (30, 70)
"""In eSpeak NG's own measure, around 50."""

_CHUNK = 64
_SILENT = 0.02
"""Samples below this share of the loudest are silence where an utterance begins and ends."""


class Batch(NamedTuple):
    """Waveforms in a row."""

    waves: Float32[ndarray, "n S"]
    first: int
    """The place of the first among all."""


class Plan(NamedTuple):
    """Who says what."""

    utterances: list[Utterance]
    labels: dict[str, Int64[ndarray, " N"]]


def voices(split: str, seed: int) -> dict[str, list[str]]:
    """The variants of each kind that are heard in a split: a random choice that the seed decides."""
    skipped = sum(SHARES[name] for name in SPLITS[1 : SPLITS.index(split)]) if split != "train" else 0
    chosen = {}
    for number, (kind, names) in enumerate(VOICES.items()):
        order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(len(SPLITS), number))).permutation(names)
        chosen[kind] = [str(name) for name in order[skipped : skipped + SHARES[split]]]
    return chosen


def plan(count: int, seed: int, split: str) -> Plan:
    """Decide who says what: words and kinds of voice are balanced to within one, everything else is drawn."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), 0)))
    turn = rng.permutation(count)
    word, kind = turn % len(WORDS), turn // len(WORDS) % len(VOICES)
    heard = list(voices(split, seed).values())
    utterances = [
        Utterance(
            WORDS[what],
            ACCENTS[rng.integers(len(ACCENTS))],
            heard[who][rng.integers(len(heard[who]))],
            int(rng.integers(SPEED[0], SPEED[1] + 1)),
            int(rng.integers(PITCH[0], PITCH[1] + 1)),
        )
        for what, who in zip(word, kind, strict=True)
    ]
    return Plan(utterances, {"word": word.astype(np.int64), "voice": kind.astype(np.int64)})


def speak_words(
    count: int, samples: int, rate: int, snr: tuple[float, float], seed: int, split: str
) -> tuple[Iterator[Batch], dict[str, Int64[ndarray, " N"]]]:
    """Speak `count` words into waveforms of `samples` samples, a chunk at a time, and return them with the labels.

    The same arguments and the same version of eSpeak NG give the same sounds. `snr` is the range of the mean power of the word
    over that of the noise while it lasts, in decibels; noise is anything from white to brown. A word lies anywhere in the
    waveform; of one that is longer than it, the beginning is heard.

    Raises:
        modalities.audio.espeak.EspeakError: eSpeak NG does not work.
    """
    made = plan(count, seed, split)
    theirs, ours = (np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), number)) for number in (1, 2))
    spoken = speak(made.utterances, int(theirs.generate_state(1)[0]) & 0x7FFFFFFF)
    return _chunks(spoken, samples, rate, snr, np.random.default_rng(ours)), made.labels


def _chunks(
    spoken: Spoken, samples: int, rate: int, snr: tuple[float, float], rng: np.random.Generator
) -> Iterator[Batch]:
    for first in range(0, len(spoken.lengths), _CHUNK):
        said = [trimmed(spoken.utterance(index)) for index in range(first, min(first + _CHUNK, len(spoken.lengths)))]
        longest = max(len(one) for one in said)
        together = np.stack([np.pad(one, (0, longest - len(one))) for one in said])
        waves = resample(torch.from_numpy(together), spoken.rate, rate).numpy()
        lengths = [round(len(one) * rate / spoken.rate) for one in said]
        words = [wave[:length] for wave, length in zip(waves, lengths, strict=True)]
        yield Batch(_in_noise(words, samples, rate, snr, rng), first)


def trimmed(wave: NDArray[np.int16]) -> NDArray[np.float32]:
    """An utterance without the silence before and after it, as numbers of at most 1."""
    loud = np.abs(wave.astype(np.float32))
    loud /= loud.max()
    heard = np.flatnonzero(loud > _SILENT)
    return (wave[heard[0] : heard[-1] + 1] / np.float32(32768)).astype(np.float32)


def _in_noise(
    said: list[NDArray[np.float32]], samples: int, rate: int, snr: tuple[float, float], rng: np.random.Generator
) -> Float32[ndarray, "n S"]:
    drawn = {name: rng.random(len(said)) for name in ("start", "snr", "colour")}
    waves = noise(drawn["colour"], samples, rate, rng)
    for wave, word, start, level in zip(waves, said, drawn["start"], drawn["snr"], strict=True):
        at = int(start * (max(0, samples - len(word)) + 1))
        add(wave, word[:samples], at, snr[0] + (snr[1] - snr[0]) * level)
    waves *= np.float32(0.1) / waves.std(axis=1, keepdims=True)
    return waves


def add(wave: Float32[ndarray, " S"], word: Float32[ndarray, " W"], at: int, snr: float) -> None:
    """Add a word to noise of power 1, where it begins and so loud that its mean power is `snr` decibels above the noise's."""
    power = np.mean(np.square(word, dtype=np.float64))
    wave[at : at + len(word)] += word * np.float32(10 ** (snr / 20) / np.sqrt(power))


def noise(colour: NDArray[np.float64], samples: int, rate: int, rng: np.random.Generator) -> Float32[ndarray, "n S"]:
    """Noise of mean power 1 whose amplitude falls with the frequency to the power `colour`: 0 is white, 1 brown."""
    white = rng.standard_normal((len(colour), samples), dtype=np.float32)
    hertz = np.fft.rfftfreq(samples, 1 / rate)
    spectrum = np.fft.rfft(white, axis=1) * (hertz**2 + 100.0**2) ** (-colour[:, None] / 2)
    spectrum[:, 0] = 0  # no sound has a mean
    made = np.fft.irfft(spectrum, samples, axis=1)
    return (made / made.std(axis=1, keepdims=True)).astype(np.float32)
