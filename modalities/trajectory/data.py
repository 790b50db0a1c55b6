"""The data sources of trajectories, by the names that configurations use."""

from modalities.trajectory.embedded import Rooms
from modalities.trajectory.folder import EpisodeFolder

__all__ = ["EpisodeFolder", "Rooms"]
