"""From frames to clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modalities.video.view import RATIO, checked_view
from worldjepa.data.crops import sample_crop
from worldjepa.errors import Unreadable, UserError

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3)).astype(np.uint8)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_training_view_is_one_crop_for_all_frames() -> None:
    view = checked_view(16, 3, (0.3, 1.0), 0.0)
    for seed in range(5):
        box = sample_crop(60, 40, rng(seed), (0.3, 1.0), RATIO)
        part = torch.from_numpy(FRAMES)[:, box.top : box.top + box.height, box.left : box.left + box.width]
        expected = F.interpolate(part.permute(0, 3, 1, 2).float(), (16, 16), mode="bilinear", antialias=True)
        clip = view.training(FRAMES, rng(seed))
        assert clip.shape == (3, 3, 16, 16)
        assert clip.is_contiguous()
        assert float((clip.transpose(0, 1).float() - expected).abs().max()) <= 1


def test_flips_mirror_the_whole_clip_as_often_as_asked() -> None:
    plain, often, always = (checked_view(16, 3, (1.0, 1.0), flip) for flip in (0.0, 0.5, 1.0))
    mirrored = 0
    for seed in range(100):
        straight = plain.training(FRAMES, rng(seed))
        assert torch.equal(always.training(FRAMES, rng(seed)), straight.flip(-1))
        mirrored += not torch.equal(often.training(FRAMES, rng(seed)), straight)
    assert 35 < mirrored < 65


def test_the_evaluation_view_is_the_middle() -> None:
    frames = np.zeros((2, 64, 128, 3), np.uint8)
    frames[:, 4:60, 36:92] = 200  # 56 of 64 pixels, as 224 of 256
    clip = checked_view(28, 3, (0.3, 1.0), 0.5).evaluation(frames)
    assert clip.shape == (3, 2, 28, 28)
    assert (clip == 200).all()
    smooth = np.broadcast_to(np.linspace(0, 255, 128).astype(np.uint8)[None, None, :, None], (2, 64, 128, 3))
    clip = checked_view(28, 1, (0.3, 1.0), 0.5).evaluation(smooth)
    assert clip.float().mean() == pytest.approx(127.5, abs=2)


def test_grey_is_luma() -> None:
    view = checked_view(40, 1, None, 0.0)
    clip = view.evaluation(FRAMES[:, :, :40])
    expected = np.rint(FRAMES[:, :, :40] @ np.array([0.299, 0.587, 0.114]))
    assert clip.shape == (1, 3, 40, 40)
    assert abs(clip[0].numpy().astype(int) - expected).max() <= 1
    assert torch.equal(clip, view.training(FRAMES[:, :, :40], rng()))


def test_frames_as_they_are_must_fit() -> None:
    with pytest.raises(Unreadable, match="60 x 40 pixels, not 40 x 40"):
        checked_view(40, 3, None, 0.0).evaluation(FRAMES)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((0, 3, None, 0.0), "size must be at least 1"),
        ((8, 2, None, 0.0), "channels must be 1"),
        ((8, 3, (0.0, 1.0), 0.0), "crop_scale"),
        ((8, 3, (0.5,), 0.0), "crop_scale"),
        ((8, 3, None, 1.5), "flip must be between"),
    ],
)
def test_settings_out_of_range(settings: tuple, words: str) -> None:
    with pytest.raises(UserError, match=words):
        checked_view(*settings)
