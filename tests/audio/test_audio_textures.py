"""The embedded sounds are what they say they are: heard as spectrograms they are the textures, and statistics tell nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import Float32
from numpy import ndarray

from modalities.audio import textures
from modalities.audio.embedded import spectrograms
from modalities.audio.frontend import front_end
from modalities.audio.textures import Sounds, play_textures
from worldjepa.data.textures import TEXTURES, placed

EAR = front_end("small_16k")


def play(count: int, hops: int = 32, **settings: object) -> Sounds:
    pitches = (EAR.edges() / EAR.rate).numpy()
    return play_textures(count, hops, EAR.hop, pitches, **settings)  # type: ignore[arg-type]


def heard(sounds: Sounds, hops: int) -> Float32[ndarray, "N T F"]:
    return spectrograms(sounds.waves, EAR, hops).astype(np.float32)


def test_the_same_arguments_give_the_same_sounds_and_others_do_not() -> None:
    first = play(20, seed=1)
    assert first.waves.shape == (20, 32 * EAR.hop)
    assert first.waves.dtype == np.float32
    assert np.array_equal(first.waves, play(20, seed=1).waves)
    for other in ({"seed": 2}, {"split": "probe_test"}, {"snr": (1.0, 2.0)}):
        assert not np.array_equal(first.waves, play(20, **{"seed": 1, **other}).waves)


def test_textures_are_balanced() -> None:
    assert np.bincount(play(80, hops=2).labels["texture"]).tolist() == [10] * len(TEXTURES)


def test_bands_part_where_neighbours_are_equally_strong() -> None:
    edges = EAR.edges()
    assert len(edges) == EAR.bins + 1
    assert edges.diff().min() > 0
    assert (float(edges[0]), float(edges[-1])) == (EAR.low, EAR.high)
    for band in (5, 30, 60):  # a sine on an edge is as loud in the one band as in the other
        wave = torch.sin(2 * torch.pi * edges[band] * torch.arange(8 * EAR.hop) / EAR.rate)
        level = EAR(wave)[2:-2].mean(0)
        assert abs(float(level[band] - level[band - 1])) < 0.35
        assert set(level.topk(2).indices.tolist()) == {band - 1, band}


def test_a_sound_heard_is_the_texture_it_was_played_from(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(textures, "placed", lambda *args: drawn.append(placed(*args)) or drawn[-1].copy())
    sounds = play(32, hops=48, snr=(60.0, 60.0))
    for seen, level in zip(heard(sounds, 48), drawn[0], strict=True):
        assert abs(np.corrcoef(seen[1:].ravel(), level[1:48].ravel())[0, 1]) > 0.6


def test_what_is_averaged_over_time_does_not_tell_the_texture() -> None:
    train, test = play(480, split="probe_train"), play(480, split="probe_test")
    a, b = (heard(sounds, 32) for sounds in (train, test))
    wanted = np.eye(len(TEXTURES))[train.labels["texture"]]
    for statistic in (lambda x: x.mean(1), lambda x: x.mean(2)):
        fit, other = (statistic(x - x.mean()) for x in (a, b))
        weights = np.linalg.solve(fit.T @ fit + 10 * np.eye(fit.shape[1]), fit.T @ wanted)
        right = float(((other @ weights).argmax(1) == test.labels["texture"]).mean())
        assert right < 0.125 + 4 * (0.125 * 0.875 / 480) ** 0.5
