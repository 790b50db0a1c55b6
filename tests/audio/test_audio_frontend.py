"""The front ends against literal restatements and against torchaudio's own Kaldi."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchaudio.compliance import kaldi

from modalities.audio.frontend import FLOOR, FRONT_ENDS, FrontEnd, front_end
from worldjepa.errors import UserError


def noise(samples: int, *batch: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*batch, samples, generator=torch.Generator().manual_seed(seed))


def tone(hertz: float, samples: int, rate: int) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(samples, dtype=torch.float64) / rate).float()


@pytest.mark.parametrize("name", ["kaldi_16k", "kaldi_32k"])
def test_kaldi_is_kaldi(name: str) -> None:
    made = FRONT_ENDS[name]
    wave = noise(made.rate, 1) + tone(440, made.rate, made.rate)
    expected = kaldi.fbank(
        wave,
        window_type="hanning",
        num_mel_bins=made.bins,
        sample_frequency=made.rate,
        frame_length=1000 * (made.window + 0.5) / made.rate,
        frame_shift=1000 * (made.hop + 0.5) / made.rate,
        low_freq=made.low,
        high_freq=made.high,
        dither=0.0,
    )
    assert expected.shape == (made.frames(made.rate), made.bins)
    torch.testing.assert_close(made(wave)[0], expected, rtol=1e-4, atol=2e-3)


def test_the_published_lengths() -> None:
    # Audio-JEPA: 10 s in 512 hops, windows of two and a half hops; A-JEPA: 25 ms every 10 ms.
    assert FRONT_ENDS["kaldi_32k"].hop == 32_000 * 10 / 512
    assert FRONT_ENDS["kaldi_32k"].window == int(2.5 * 625)
    assert (FRONT_ENDS["kaldi_16k"].window, FRONT_ENDS["kaldi_16k"].hop) == (400, 160)
    assert FRONT_ENDS["mel_16k"].samples(608) == 6.08 * 16_000


def slaney_mel(hertz: float) -> float:
    return hertz / (200 / 3) if hertz < 1000 else 15 + math.log(hertz / 1000) / (math.log(6.4) / 27)


def slaney_hertz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)


def literal(made: FrontEnd, wave: np.ndarray) -> np.ndarray:
    """One frame after another, one band after another."""
    half = made.window // 2
    padded = np.concatenate([wave[half:0:-1], wave, wave[-2 : -half - 2 : -1]])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(made.window) / made.window)
    low, high = slaney_mel(made.low), slaney_mel(made.high)
    edges = [slaney_hertz(low + (high - low) * i / (made.bins + 1)) for i in range(made.bins + 2)]
    centres = np.arange(made.window // 2 + 1) * made.rate / made.window
    rows = []
    for start in range(0, len(padded) - made.window + 1, made.hop):
        power = np.abs(np.fft.rfft(padded[start : start + made.window] * window)) ** 2
        row = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            rise, fall = (centres - left) / (centre - left), (right - centres) / (right - centre)
            weight = np.minimum(rise, fall).clip(0) * 2 / (right - left)
            row.append(math.log(float(power @ weight) + FLOOR))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("name", ["mel_16k", "small_16k"])
def test_the_centred_spectrogram_literally(name: str) -> None:
    made = FRONT_ENDS[name]
    wave = noise(4_000) + tone(1_000, 4_000, made.rate)
    expected = literal(made, wave.double().numpy())
    assert expected.shape == (made.frames(4_000), made.bins)
    np.testing.assert_allclose(made(wave).numpy(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_a_tone_is_loudest_in_its_band(name: str) -> None:
    made = FRONT_ENDS[name]
    heard = [int(made(tone(hertz, made.rate, made.rate)).mean(0).argmax()) for hertz in (300, 1_000, 4_000)]
    assert heard == sorted(heard)
    assert heard[0] < made.bins / 4
    assert heard[2] > made.bins / 2


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_batches_silence_and_short_waveforms(name: str) -> None:
    made = FRONT_ENDS[name]
    waves = noise(made.window * 4, 2, 3)
    together = made(waves)
    assert together.shape == (2, 3, made.frames(made.window * 4), made.bins)
    torch.testing.assert_close(together[1, 2], made(waves[1, 2]), rtol=1e-4, atol=1e-4)
    silence = made(torch.zeros(made.window))
    torch.testing.assert_close(silence, torch.full_like(silence, math.log(FLOOR)))
    assert made(noise(made.shortest)).isfinite().all()
    assert len(made(noise(made.shortest))) == made.frames(made.shortest) >= 1


def test_precision_around_it_does_not_matter() -> None:
    wave = noise(8_000)
    for name in ("mel_16k", "kaldi_16k"):
        with torch.autocast("cpu", torch.bfloat16):
            low = FRONT_ENDS[name](wave)
        assert torch.equal(low, FRONT_ENDS[name](wave))


def test_an_unknown_front_end_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"front_end 'mel_16' is not known \(did you mean 'mel_16k'\?\)"):
        front_end("mel_16")
