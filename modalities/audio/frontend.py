"""From waveforms to log-mel spectrograms: the two families of front ends that published recipes use, by name."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from jaxtyping import Float
from torch import Tensor
from torchaudio.compliance import kaldi

from worldjepa.errors import unknown

FLOOR = torch.finfo(torch.float32).eps
"""Energies below this count as this, so that the logarithm of silence is a number: -15.9."""

_PREEMPHASIS = 0.97


@dataclass(frozen=True)
class FrontEnd:
    """A log-mel spectrogram: which one, and the computing of it.

    Two families: the centred short-time Fourier transform (M2D), and the filter bank of Kaldi (AST, A-JEPA, Audio-JEPA): frames
    that begin at the first sample and end before the last, each without its mean, pre-emphasised, windowed and padded
    to a power of two.
    """

    rate: int
    """Samples a second of the waveforms."""
    window: int
    """Samples of a frame."""
    hop: int
    """Samples from one frame to the next."""
    bins: int
    """Mel bands, F."""
    low: float
    """Hertz where the lowest band begins."""
    high: float
    """Hertz where the highest band ends."""
    kaldi: bool = False
    """Compute it as Kaldi does."""
    by_band: bool = False
    """Normalise every band on its own, not all by one mean and deviation as the published recipes do."""

    def __call__(self, waves: Float[Tensor, "*b S"]) -> Float[Tensor, "*b T F"]:
        """The natural logarithm of the energy in each band, in float32 whatever the precision around."""
        with torch.autocast(waves.device.type, enabled=False):
            waves = waves.float()
            return self._kaldi(waves) if self.kaldi else self._centred(waves)

    def frames(self, samples: int) -> int:
        """How many frames a waveform of this length has, T."""
        return max(0, 1 + (samples - self.window) // self.hop) if self.kaldi else 1 + samples // self.hop

    def samples(self, frames: int) -> int:
        """The length of a waveform that lasts as long as this many hops."""
        return frames * self.hop

    @property
    def shortest(self) -> int:
        """Samples below which there is not one whole frame."""
        return self.window

    def _centred(self, waves: Float[Tensor, "*b S"]) -> Float[Tensor, "*b T F"]:
        flat = waves.reshape(-1, waves.shape[-1])  # [B, S]
        # Frames reach beyond both ends by half a window, into a mirror image; torch.stft takes no more than the signal has.
        half = self.window // 2
        mode = "reflect" if flat.shape[-1] > half else "constant"
        padded = F.pad(flat[:, None], (half, half), mode=mode)[:, 0]
        window = torch.hann_window(self.window, device=waves.device)
        spectrum = torch.stft(padded, self.window, self.hop, window=window, center=False, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()  # [B, fft/2+1, T]
        mel = power.transpose(1, 2) @ _slaney(self).to(waves.device)  # [B, T, F]
        return (mel + FLOOR).log().reshape(*waves.shape[:-1], *mel.shape[1:])

    def _kaldi(self, waves: Float[Tensor, "*b S"]) -> Float[Tensor, "*b T F"]:
        frames = waves.unfold(-1, self.window, self.hop)  # [*b, T, window]
        frames = frames - frames.mean(-1, keepdim=True)
        before = _PREEMPHASIS * frames
        frames[..., 1:] -= before[..., :-1]
        frames[..., 0] -= before[..., 0]  # before the first sample stands the first sample
        frames *= torch.hann_window(self.window, periodic=False, device=waves.device)
        spectrum = torch.fft.rfft(frames, n=_power_of_two(self.window))
        power = spectrum.real.square() + spectrum.imag.square()
        return (power @ _kaldi_banks(self).to(waves.device)).clamp_min(FLOOR).log()


def _power_of_two(length: int) -> int:
    return 1 << (length - 1).bit_length()


@functools.cache
def _slaney(front_end: FrontEnd) -> Float[Tensor, "bands F"]:
    """Triangles of equal area on Slaney's mel scale, as librosa and nnAudio make them."""
    bands = front_end.window // 2 + 1
    return AF.melscale_fbanks(
        bands, front_end.low, front_end.high, front_end.bins, front_end.rate, norm="slaney", mel_scale="slaney"
    )


@functools.cache
def _kaldi_banks(front_end: FrontEnd) -> Float[Tensor, "bands F"]:
    """Kaldi's triangles, of equal height on its own mel scale; the band at half the sample rate has no part in them."""
    size = _power_of_two(front_end.window)
    # Kaldi's vocal-tract warping is off; its two limits must be given all the same.
    banks, _ = kaldi.get_mel_banks(
        front_end.bins, size, front_end.rate, front_end.low, front_end.high, 100.0, -500.0, 1.0
    )
    return F.pad(banks, (0, 1)).T.contiguous()


FRONT_ENDS = {
    # Frames as long as two hops, few bands: for tiny models.
    "small_16k": FrontEnd(rate=16_000, window=640, hop=320, bins=64, low=50, high=8_000, by_band=True),
    # M2D (arXiv 2210.14648): windows of 25 ms every 10 ms.
    "mel_16k": FrontEnd(rate=16_000, window=400, hop=160, bins=80, low=50, high=8_000),
    "mel_32k": FrontEnd(rate=32_000, window=800, hop=320, bins=80, low=50, high=16_000),
    # A-JEPA (arXiv 2311.15830), as AST and EAT: windows of 25 ms every 10 ms.
    "kaldi_16k": FrontEnd(rate=16_000, window=400, hop=160, bins=128, low=20, high=8_000, kaldi=True),
    # Audio-JEPA (arXiv 2507.02915): 512 hops in 10 s, windows of two and a half hops.
    "kaldi_32k": FrontEnd(rate=32_000, window=1_562, hop=625, bins=96, low=20, high=16_000, kaldi=True),
}
"""By the name that `data.front_end` takes."""


def front_end(name: str) -> FrontEnd:
    """The front end of this name.

    Raises:
        UserError: there is none.
    """
    if name not in FRONT_ENDS:
        raise unknown("front_end", name, FRONT_ENDS)
    return FRONT_ENDS[name]
