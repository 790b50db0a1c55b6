"""The shapes of episodes, and stretches of them."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Shaped
from numpy import ndarray

from worldjepa.errors import Unreadable
from worldjepa.world.episodes import Episode


class Sizes(NamedTuple):
    """How long an episode is, and the shapes of what a frame holds."""

    frames: int
    observation: tuple[int, ...]
    actions: int
    """Numbers of an action."""
    proprioception: int | None
    """Numbers that the body knows of itself."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], int, int | None]:
        """What all episodes of a set share."""
        return self[1:]

    @classmethod
    def of(cls, episode: Episode) -> Sizes:
        """The sizes of an episode."""
        body = episode.proprioception
        return sizes_of(
            episode.observations.shape, episode.actions.shape, None if body is None else body.shape, "an episode"
        )


def sizes_of(
    observations: tuple[int, ...], actions: tuple[int, ...], proprioception: tuple[int, ...] | None, name: str
) -> Sizes:
    """Sizes from the shapes of arrays. As many actions as frames are taken too: the last one is then not used.

    Raises:
        Unreadable: the arrays do not fit together.
    """
    frames = observations[0] if observations else 0
    fits = len(actions) == 2 and actions[0] in (frames - 1, frames) and frames > 1
    if not fits or (proprioception is not None and (len(proprioception) != 2 or proprioception[0] != frames)):
        raise Unreadable(
            f"{name}: observations {observations}, actions {actions} and proprioception {proprioception} do not fit together"
        )
    return Sizes(frames, observations[1:], actions[1], None if proprioception is None else proprioception[1])


class Cut(NamedTuple):
    """Some frames of an episode and the actions between them; `S = (T - 1) skip`."""

    observations: Shaped[ndarray, "T ..."]
    actions: Float[ndarray, "S A"]
    proprioception: Float[ndarray, "T P"] | None


def cut(episode: Episode, start: int, stop: int, skip: int) -> Cut:
    """Every `skip`-th frame from `start` on and before `stop`, and all actions between the first and the last of them."""
    frames = slice(start, stop, skip)
    last = start + (len(range(start, stop, skip)) - 1) * skip
    body = episode.proprioception
    return Cut(episode.observations[frames], episode.actions[start:last], None if body is None else body[frames])
