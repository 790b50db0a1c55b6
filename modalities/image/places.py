"""Places205: what kind of place is it?"""

from __future__ import annotations

from collections.abc import Sequence

from modalities.image.observations import ImageFiles, checked_view
from worldjepa.data.files import Files
from worldjepa.data.labels import read_lines
from worldjepa.data.paths import PathTable, check_folder
from worldjepa.data.published import HeldOut, Published, classified
from worldjepa.data.tables import archive_folder, required
from worldjepa.data.views import Views
from worldjepa.errors import UserError

LAYOUT = (
    "trainvalsplit_places205/train_places205.csv and val_places205.csv, `PATH LABEL` a line, with the pictures below "
    "data/vision/torralba/deeplearning/images256/"
)
PICTURES = "data/vision/torralba/deeplearning/images256"


class Places205(Published):
    """Places205: pictures of 205 kinds of places, with the two published lists.

    The published test pictures have no labels: `val` is for tests. Pictures that are listed and not there are counted and left
    out.

    Args:
        root: the folder with the lists; the pictures are where the archive puts them below it, or where the lists' paths lead.
        size: side of the square views in pixels.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the picture (I-JEPA, official configurations).
        seed: decides which pictures probes choose their settings on.
        max_bad_fraction: training stops when more than this share of the pictures it has seen cannot be read.
        views: how several views of a picture are made for training, in place of one crop; the group `views` says.

    Raises:
        UserError: a list or all pictures are missing, a line is damaged, or a setting is out of its range.
    """

    def __init__(
        self,
        root: str,
        size: int = 224,
        channels: int = 3,
        crop_scale: Sequence[float] = (0.3, 1.0),
        seed: int = 0,
        max_bad_fraction: float = 0.05,
        views: Views | None = None,
    ):
        self.channels = channels
        self.view = checked_view(size, channels, crop_scale, views)
        self.root = check_folder(root)
        self.pictures = archive_folder(root, PICTURES)
        self._classes: list[str] = []
        super().__init__(self._split("train"), seed, max_bad_fraction)

    def held_out(self) -> HeldOut:
        """The pictures of `val` for tests."""
        return HeldOut(None, self._split("val"))

    def _split(self, split: str) -> Files:
        name = f"{split}_places205.csv"
        where = required(self.root, [f"trainvalsplit_places205/{name}", name], LAYOUT)
        lines = [line.rpartition(" ") for line in read_lines(where, "data.root")]
        for number, (path, _, label) in enumerate(lines, start=1):
            if not path or not label.isdecimal():
                raise UserError(f"{where}, entry {number} is not `PATH LABEL`: {path} {label}")
        paths, labels = [path for path, _, _ in lines], [str(int(label)) for _, _, label in lines]
        self._classes = self._classes or sorted(set(labels), key=int)
        files = ImageFiles(self.pictures, PathTable(paths), self.view)
        return classified(files, labels, self._classes, "pictures", where)
