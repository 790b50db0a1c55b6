"""Episodes of your own: a folder of NumPy archives or HDF5 files."""

from __future__ import annotations

from modalities.trajectory.episodes import OnDisk
from modalities.trajectory.windows import Windows
from worldjepa.data import DataSource
from worldjepa.data.files import check_share


class EpisodeFolder(DataSource):
    """All windows of the episodes below a folder. They carry no labels.

    Args:
        root: the folder; see `modalities.trajectory.npz` and `hdf5` for what files hold.
        history: frames of a window that are seen.
        horizon: frames of a window that are asked for.
        skip: every how many frames of an episode one is taken.
        observe: `observations`, or in their place the `proprioception`.
        proprioception: give it as a part of the condition, for predictors that take states.
        max_bad_fraction: training stops when more than this share of the windows it has seen cannot be read.

    Raises:
        UserError: a value is out of its range, or the folder holds no episodes that are long enough.
    """

    def __init__(
        self,
        root: str,
        history: int = 1,
        horizon: int = 16,
        skip: int = 1,
        observe: str = "observations",
        proprioception: bool = False,
        max_bad_fraction: float = 0.05,
    ) -> None:
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.windows = Windows(OnDisk(root), history, horizon, skip, observe, proprioception)
        self.channels = self.windows.shape[1]

    def train(self) -> Windows:
        """The windows of all episodes."""
        return self.windows

    def probe(self) -> None:
        """There are no labels."""
