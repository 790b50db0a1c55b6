"""Sets of spectrograms in memory."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from worldjepa.data import Labels, Observations
from worldjepa.data.mapped import packed, unpacked
from worldjepa.errors import UserError


class ArrayObservations(Observations):
    """Spectrograms that are in memory, or memory-mapped: then workers map the same file instead of copying it.

    Args:
        spectrograms: `[N, T, F]` in half or single precision, not normalised.
        factors: what is known about each sound.
        fingerprint: identifies the spectrograms; by default computed from them.

    Raises:
        UserError: the shape or the type of the spectrograms does not fit.
    """

    in_memory = True

    def __init__(
        self,
        spectrograms: Float[ndarray, "N T F"],
        factors: dict[str, Labels] | None = None,
        fingerprint: str | None = None,
    ):
        if spectrograms.dtype not in (np.float16, np.float32) or spectrograms.ndim != 3:
            raise UserError(
                f"spectrograms must be float16 or float32 [N, T, F], not {spectrograms.dtype} {list(spectrograms.shape)}"
            )
        self.spectrograms, self.factors = spectrograms, factors or {}
        self.shape = (1, *spectrograms.shape[1:])
        self._fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self.spectrograms)

    def observe(self, index: int, rng: torch.Generator | None = None) -> Float[Tensor, "1 T F"]:
        """The spectrogram; there is no augmentation."""
        return torch.from_numpy(self.spectrograms[index].astype(np.float32))[None]

    def fingerprint(self) -> str:
        """The given fingerprint, or SHA-256 of the spectrograms."""
        if self._fingerprint is None:
            self._fingerprint = hashlib.sha256(np.ascontiguousarray(self.spectrograms).data).hexdigest()
        return self._fingerprint

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "spectrograms": packed(self.spectrograms)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, spectrograms=unpacked(state["spectrograms"]))
