"""The tokenizer: patches of a normalised spectrogram, from spectrograms and from waveforms."""

from __future__ import annotations

import pytest
import torch

from modalities.audio.frontend import FRONT_ENDS
from modalities.audio.tokenizer import Patches
from worldjepa.errors import UserError


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_patches_literally() -> None:
    tokenizer = Patches((4, 16), 6)
    tokenizer.fit(3 * noise(5, 1, 12, 80) - 7)
    obs = 3 * noise(2, 1, 12, 80) - 7
    tokens = tokenizer(obs)
    assert tokenizer.grid((1, 12, 80)) == (3, 5, 1)
    assert tokens.x.shape == (2, 15, 6)
    for time in range(3):
        for frequency in range(5):
            patch = obs[1, 0, 4 * time : 4 * time + 4, 16 * frequency : 16 * frequency + 16]
            normal = (patch - tokenizer.mean[0]) / tokenizer.std[0]
            expected = tokenizer.proj.weight.flatten(1) @ normal.flatten() + tokenizer.proj.bias
            torch.testing.assert_close(tokens.x[1, 5 * time + frequency], expected, rtol=1e-4, atol=1e-5)
            assert tokens.pos[1, 5 * time + frequency].tolist() == [time, frequency, 0]


def test_fitting_takes_mean_and_deviation_and_keeps_them_in_the_state() -> None:
    sample = 2.5 * noise(6, 1, 16, 64) - 4
    tokenizer = Patches(8, 4, "small_16k")  # each band on its own
    tokenizer.fit(sample)
    torch.testing.assert_close(tokenizer.mean, sample.mean((0, 1, 2)))
    torch.testing.assert_close(tokenizer.std, sample.flatten(0, 2).std(0))
    whole = Patches(16, 4, "mel_16k")
    whole.fit(sample[..., :1].expand(-1, -1, -1, 80))
    torch.testing.assert_close(whole.mean, sample[..., 0].mean().expand(80))
    assert float(whole.std.min()) == float(whole.std.max()) == pytest.approx(float(sample[..., 0].std()), rel=1e-2)
    other = Patches(8, 4, "small_16k")
    other.load_state_dict(tokenizer.state_dict())
    assert torch.equal(other(sample).x, tokenizer(sample).x)
    tokenizer.fit(torch.zeros(2, 1, 16, 64))
    assert tokenizer(torch.zeros(2, 1, 16, 64)).x.isfinite().all()


def test_a_waveform_is_seen_as_its_spectrogram() -> None:
    front = FRONT_ENDS["mel_16k"]
    tokenizer = Patches(16, 4)
    waves = 0.1 * noise(2, front.samples(35))
    spectrograms = front(waves)[:, None, :32]  # frames that fill no patch are left out
    assert tokenizer.grid(waves.shape[1:]) == tokenizer.grid((1, 32, 80)) == (2, 5, 1)
    tokenizer.fit(waves)
    assert torch.equal(tokenizer(waves).x, tokenizer(spectrograms).x)


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ((1, 20, 80), "20 frames cannot be cut into patches of 16: the nearest numbers that fit are 16 and 32"),
        ((1, 8, 80), "less than one patch of 16 frames"),
        ((1, 32, 64), r"a sound has the shape \(1, frames, 80\)"),
        ((3, 32, 80), r"a sound has the shape \(1, frames, 80\)"),
        ((1_000,), "less than one patch of 16 frames"),
    ],
)
def test_shapes_that_do_not_fit(shape: tuple[int, ...], why: str) -> None:
    with pytest.raises(UserError, match=why):
        Patches(16, 4).grid(shape)


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="80 mel bands of front_end=mel_16k cannot be cut into patches of 32"):
        Patches(32, 4)
    with pytest.raises(UserError, match="patch must be one or two numbers"):
        Patches([2, 2, 2], 4)
