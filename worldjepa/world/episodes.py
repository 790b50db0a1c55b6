"""Episodes: what was seen and done, one step after another."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from worldjepa.errors import Unsaved


class Episode(NamedTuple):
    """Action t leads from frame t to frame t + 1, so there is one frame more than there are actions."""

    observations: Shaped[ndarray, "T ..."]
    actions: Float[ndarray, "S A"]
    proprioception: Float[ndarray, "T P"] | None = None
    """What the body knows of itself in every frame, where anything is known."""
    terminated: bool = False
    """Whether the episode came to an end of its own, and was not merely broken off."""


def write_npz(path: Path, episode: Episode) -> None:
    """Write an episode as a NumPy archive: equal episodes give equal bytes, and the file is there whole or not at all.

    Raises:
        Unsaved: the disk does not take it.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.npz")
    try:
        arrays = {name: np.asarray(value) for name, value in episode._asdict().items() if value is not None}
        np.savez_compressed(draft, allow_pickle=False, **arrays)
        os.replace(draft, path)
    except OSError as error:
        raise Unsaved(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
