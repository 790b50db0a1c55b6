"""Which frames make a clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modalities.video.frames import Timeline
from modalities.video.sampling import checked_sampling
from worldjepa.errors import Unreadable, UserError


def even(frames: int, rate: float = 30.0) -> Timeline:
    return Timeline(np.arange(frames) / rate, frames / rate)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_by_stride_every_place_is_used_and_none_beyond() -> None:
    sampling = checked_sampling(4, 3, None, "hold")
    starts = set()
    for seed in range(200):
        chosen = sampling.choose(even(14), rng(seed))
        assert (np.diff(chosen) == 3).all()
        starts.add(int(chosen[0]))
    assert starts == {0, 1, 2, 3, 4}
    assert sampling.choose(even(14)).tolist() == [2, 5, 8, 11]
    assert sampling.choose(even(10)).tolist() == [0, 3, 6, 9]


def test_several_clips_share_the_places_in_order() -> None:
    sampling = checked_sampling(2, 1, None, "hold")
    for seed in range(50):
        starts = [int(sampling.choose(even(13), rng(seed), clip, 4)[0]) for clip in range(4)]
        assert all(3 * clip <= start < 3 * clip + 3 for clip, start in enumerate(starts))
    assert [int(sampling.choose(even(13), None, clip, 4)[0]) for clip in range(4)] == [1, 4, 7, 10]
    assert [int(sampling.choose(even(3), None, clip, 4)[0]) for clip in range(4)] == [0, 0, 1, 1]


@pytest.mark.parametrize("rate", [8.0, 24.0, 29.97, 60.0])
def test_by_time_whatever_the_rate(rate: float) -> None:
    sampling = checked_sampling(8, 4, 4.0, "hold")
    timeline = even(round(3 * rate), rate)
    for seed in range(20):
        chosen = sampling.choose(timeline, rng(seed))
        steps = np.diff(timeline.starts[chosen])
        assert (abs(steps - 0.25) <= 1 / rate).all()
        assert timeline.starts[chosen[-1]] - timeline.starts[chosen[0]] == pytest.approx(1.75, abs=1 / rate)


def test_by_time_in_an_uneven_video() -> None:
    timeline = Timeline(np.array([0.0, 0.04, 0.08, 0.5, 0.54, 1.0]), 1.5)
    assert checked_sampling(4, 1, 2.0, "hold").choose(timeline).tolist() == [0, 3, 5, 5]
    assert checked_sampling(3, 1, 2.0, "hold").choose(timeline).tolist() == [2, 4, 5]  # from .25 s on


def test_short_videos() -> None:
    three = even(3)
    assert checked_sampling(5, 1, None, "hold").choose(three, rng()).tolist() == [0, 1, 2, 2, 2]
    assert checked_sampling(5, 1, None, "loop").choose(three, rng()).tolist() == [0, 1, 2, 0, 1]
    assert checked_sampling(5, 2, None, "hold").choose(even(1)).tolist() == [0] * 5
    assert checked_sampling(4, 1, 15.0, "hold").choose(three).tolist() == [0, 2, 2, 2]
    assert checked_sampling(4, 1, 15.0, "loop").choose(three).tolist() == [0, 2, 1, 0]
    for fps in (None, 30.0):
        with pytest.raises(Unreadable, match="is too short"):
            checked_sampling(5, 1, fps, "refuse").choose(three)
        assert checked_sampling(3, 1, fps, "refuse").choose(three).tolist() == [0, 1, 2]


def test_the_place_is_a_function_of_the_generator() -> None:
    sampling = checked_sampling(4, 1, None, "hold")
    assert (sampling.choose(even(100), rng(3)) == sampling.choose(even(100), rng(3))).all()
    assert (sampling.choose(even(100), rng(3)) != sampling.choose(even(100), rng(4))).any()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((0, 1, None, "hold"), "frames=0"),
        ((1, 0, None, "hold"), "stride=0"),
        ((1, 1, 0.0, "hold"), "fps must be positive"),
        ((1, 1, float("nan"), "hold"), "fps must be positive"),
        ((1, 1, None, "pad"), "'pad'"),
    ],
)
def test_settings_out_of_range(settings: tuple, words: str) -> None:
    with pytest.raises(UserError, match=words):
        checked_sampling(*settings)
