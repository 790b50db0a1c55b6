"""Any folder of images as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from modalities.image.observations import KIND, ImageFiles, checked_view
from worldjepa.data.folder import FolderSource
from worldjepa.data.paths import Kind, PathTable
from worldjepa.data.views import Views


class Folder(FolderSource):
    """Any folder of images, nested or flat: see `FolderSource` for classes and splits.

    Args:
        root: the folder.
        size: side of the square views in pixels.
        channels: 1 for grey, 3 for RGB; files of any kind are converted.
        holdout: the fraction of each class that is held out for testing where there is no split on disk; 0 for none,
            and then there are no probes.
        crop_scale: range of the area of training crops, as a fraction of the image (I-JEPA, official configurations).
        seed: decides what is held out.
        max_bad_fraction: training stops when more than this share of the images it has seen cannot be read.
        views: how several views of an image are made for training, in place of one crop; the group `views` says.

    Raises:
        UserError: there is no such folder or no image in it, or a number is out of its range.
    """

    kind: ClassVar[Kind] = KIND

    def __init__(
        self,
        root: str,
        size: int = 224,
        channels: int = 3,
        holdout: float = 0.2,
        crop_scale: Sequence[float] = (0.3, 1.0),
        seed: int = 0,
        max_bad_fraction: float = 0.05,
        views: Views | None = None,
    ):
        self.channels = channels
        self.view = checked_view(size, channels, crop_scale, views)
        super().__init__(root, holdout, seed, max_bad_fraction)

    def files(self, root: str, paths: PathTable) -> ImageFiles:
        """The images in the view."""
        return ImageFiles(root, paths, self.view)
