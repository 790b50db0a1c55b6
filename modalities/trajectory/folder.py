"""Episodes of your own: a folder of NumPy archives or HDF5 files, or a LeRobotDataset."""

from __future__ import annotations

from modalities.trajectory.episodes import Episodes, OnDisk
from modalities.trajectory.lerobot import LeRobot, is_lerobot
from modalities.trajectory.windows import Windows
from worldjepa.data import DataSource
from worldjepa.data.files import check_share
from worldjepa.data.paths import check_folder
from worldjepa.errors import UserError


class EpisodeFolder(DataSource):
    """All windows of the episodes below a folder. They carry no labels.

    Args:
        root: the folder; see `modalities.trajectory.npz` and `hdf5` for what files hold, and `lerobot`.
        history: frames of a window that are seen.
        horizon: frames of a window that are asked for.
        skip: every how many frames of an episode one is taken.
        observe: `observations`, or in their place the `proprioception`.
        proprioception: give it as a part of the condition, for predictors that take states.
        camera: whose pictures to take where a LeRobotDataset has several.
        size: side that the pictures of a LeRobotDataset are brought to; as they are without it.
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
        camera: str | None = None,
        size: int | None = None,
        max_bad_fraction: float = 0.05,
    ) -> None:
        self.max_bad_fraction = check_share(max_bad_fraction)
        episodes = open_episodes(root, observe, camera, size)
        self.windows = Windows(episodes, history, horizon, skip, observe, proprioception)
        self.channels = self.windows.shape[1]

    def train(self) -> Windows:
        """The windows of all episodes."""
        return self.windows

    def probe(self) -> None:
        """There are no labels."""


def open_episodes(root: str, observe: str, camera: str | None, size: int | None) -> Episodes:
    """The episodes below a folder, whatever their layout.

    Raises:
        UserError: there are none, or a camera or a size was chosen for something else than a LeRobotDataset.
    """
    folder = check_folder(root)
    if is_lerobot(folder):
        return LeRobot(folder, camera, size, look=observe == "observations")
    if camera is not None or size is not None:
        raise UserError(
            f"camera={camera}, size={size}: these are for a LeRobotDataset, and {root} has no meta/info.json"
        )
    return OnDisk(folder)
