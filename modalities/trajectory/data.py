"""The data sources of trajectories, by the names that configurations use."""

from modalities.trajectory.embedded import Rooms
from modalities.trajectory.folder import EpisodeFolder
from modalities.trajectory.recorded import Recorded

__all__ = ["EpisodeFolder", "Recorded", "Rooms"]
