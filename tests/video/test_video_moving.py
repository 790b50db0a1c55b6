"""The embedded clips are what they say they are: what moves moves as labelled, and nothing else tells the direction."""

from __future__ import annotations

import numpy as np
import pytest

from modalities.video import moving
from modalities.video.moving import DIRECTIONS, KINDS, clip_labels, draw_clips


def test_the_same_arguments_give_the_same_clips_and_others_do_not() -> None:
    first = draw_clips(40, size=16, frames=3, seed=1)
    assert first.shape == (40, 3, 16, 16)
    assert first.dtype == np.uint8
    assert np.array_equal(first, draw_clips(40, size=16, frames=3, seed=1))
    assert np.array_equal(first[:32], draw_clips(40, size=16, frames=3, seed=1)[:32])
    for other in ({"seed": 2}, {"split": "probe_test"}, {"noise": 0.1}):
        assert not np.array_equal(first, draw_clips(40, size=16, frames=3, **{"seed": 1, **other}))


def test_classes_are_balanced_and_independent() -> None:
    labels = clip_labels(480, seed=3)
    pairs = labels["direction"] * len(KINDS) + labels["texture"]
    assert np.bincount(pairs, minlength=48).tolist() == [10] * 48
    assert not np.array_equal(labels["direction"], clip_labels(480, seed=4)["direction"])


def test_textures_move_in_the_direction_of_their_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "GRAIN", 0.0)
    clips = draw_clips(96, size=48, frames=2, noise=0.0).astype(np.float64) / 255
    labels = clip_labels(96)
    for clip, direction in zip(clips, labels["direction"], strict=True):
        # Least squares over all pixels: the change in time is less the gradient along the movement (Lucas and Kanade).
        down, right = np.gradient(clip.mean(0))
        gradients = np.stack([right.ravel(), down.ravel()], 1)
        move = np.linalg.lstsq(gradients, -(clip[1] - clip[0]).ravel(), rcond=None)[0]
        angle = np.arctan2(move[1], move[0])
        wanted = direction * 2 * np.pi / len(DIRECTIONS)
        assert abs((angle - wanted + np.pi) % (2 * np.pi) - np.pi) < np.pi / 8
        assert 0.5 < np.hypot(*move) < 2.6


def test_the_grain_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "CONTRAST", (0.0, 0.0))
    clips = draw_clips(4, size=24, frames=5, noise=0.0)
    assert np.array_equal(clips[:, 0], clips[:, 4])
    assert clips.std((1, 2, 3)).min() > 0.2 * 255


def test_a_single_frame_and_the_mean_frame_say_nothing_of_the_direction() -> None:
    train, test = (draw_clips(800, size=24, frames=8, split=split) for split in ("probe_train", "probe_test"))
    told, asked = (clip_labels(800, split=split)["direction"] for split in ("probe_train", "probe_test"))
    for view in (lambda clips: clips[:, 3], lambda clips: clips.mean(1)):
        a, b = (view(clips).reshape(800, -1) / 255.0 - 0.5 for clips in (train, test))
        wanted = np.eye(len(DIRECTIONS))[told]
        weights = np.linalg.solve(a.T @ a + 10 * np.eye(a.shape[1]), a.T @ wanted)
        right = float(((b @ weights).argmax(1) == asked).mean())
        assert right < 0.125 + 4 * (0.125 * 0.875 / 800) ** 0.5
