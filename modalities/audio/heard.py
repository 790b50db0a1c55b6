"""From log-mel spectrograms back to sound: what the bands do not tell is chosen, never heard."""

from __future__ import annotations

from pathlib import Path

import soundfile
from jaxtyping import Float
from torch import Tensor
from torchaudio.transforms import GriffinLim, InverseMelScale

from modalities.audio.frontend import FLOOR, FrontEnd
from worldjepa.errors import UserError

ROUNDS = 48
"""Rounds in which phases are made to agree."""
LOUDEST = 0.95


def invertible(front_end: FrontEnd) -> bool:
    """Whether its spectrograms can be heard: Kaldi's frames are emphasised one by one and do not add up to a sound."""
    return not front_end.kaldi


def wave(front_end: FrontEnd, spectrogram: Float[Tensor, "*b T F"]) -> Float[Tensor, "*b S"]:
    """A sound of about this log-mel spectrogram; nothing is drawn, so that the same gives the same.

    The energies of the bands are spread over frequencies by least squares, and phases are found by Griffin and Lim's method.

    Raises:
        UserError: the front end cannot be inverted.

    Source: Griffin and Lim, Signal estimation from modified short-time Fourier transform, 1984.
    """
    if not invertible(front_end):
        raise UserError("spectrograms of Kaldi's filter bank cannot be made into sound")
    bands = (spectrogram.float().exp() - FLOOR).clamp_min(0).transpose(-1, -2)  # [*b, F, T]
    banks = InverseMelScale(
        n_stft=front_end.window // 2 + 1,
        n_mels=front_end.bins,
        sample_rate=front_end.rate,
        f_min=front_end.low,
        f_max=front_end.high,
        norm="slaney",
        mel_scale="slaney",
        driver="gelsd",
    )
    phases = GriffinLim(n_fft=front_end.window, n_iter=ROUNDS, hop_length=front_end.hop, power=2.0, rand_init=False)
    found: Float[Tensor, "*b S"] = phases(banks(bands))
    return found


def write_wave(path: Path, samples: Float[Tensor, " S"], rate: int) -> None:
    """A sound as WAV of 16 bits."""
    soundfile.write(path, samples.numpy(), rate, subtype="PCM_16", format="WAV")
