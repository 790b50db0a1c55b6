"""iNaturalist 2018: which species is it?"""

from __future__ import annotations

from collections.abc import Sequence

from modalities.image.observations import ImageFiles, checked_view
from worldjepa.data.files import Files
from worldjepa.data.paths import PathTable, check_folder
from worldjepa.data.published import HeldOut, Published, classified
from worldjepa.data.tables import entry, read_json, required
from worldjepa.data.views import Views
from worldjepa.errors import UserError

LAYOUT = "train2018.json and val2018.json, with the pictures below train_val2018/, as the archives unpack"


class INaturalist(Published):
    """iNaturalist 2018, listed in files of COCO's form. A class is called by the number that the lists give it.

    The published test pictures have no labels: `val2018.json` is for tests. Pictures that are listed and not there are counted
    and left out.

    Args:
        root: the folder with the lists and `train_val2018/`.
        size: side of the square views in pixels.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the picture (I-JEPA, official configurations).
        seed: decides which pictures probes choose their settings on.
        max_bad_fraction: training stops when more than this share of the pictures it has seen cannot be read.
        views: how several views of a picture are made for training, in place of one crop; the group `views` says.

    Raises:
        UserError: a list or all pictures are missing, a list is damaged, or a setting is out of its range.
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
        self._classes: list[str] = []
        super().__init__(self._split("train"), seed, max_bad_fraction)

    def held_out(self) -> HeldOut:
        """The pictures of `val2018.json` for tests."""
        return HeldOut(None, self._split("val"))

    def _split(self, split: str) -> Files:
        where = required(self.root, [f"{split}2018.json"], LAYOUT)
        paths, labels = read_coco(where)
        self._classes = self._classes or sorted(set(labels), key=int)
        files = ImageFiles(self.root, PathTable(paths), self.view)
        return classified(files, labels, self._classes, "pictures", where)


def read_coco(where: str) -> tuple[list[str], list[str]]:
    """Path and category of every picture of a list in COCO's form, in the order of the list.

    Raises:
        UserError: the file is damaged, or a picture has no category or several.
    """
    content = read_json(where, dict)
    category: dict[int, int] = {}
    for i, note in enumerate(entry(content, "annotations", list, where)):
        picture = entry(note, "image_id", int, f"{where}, annotation {i}")
        if picture in category:
            raise UserError(f"{where}: picture {picture} has several annotations, which must have one each")
        category[picture] = entry(note, "category_id", int, f"{where}, annotation {i}")
    paths, labels = [], []
    for i, picture in enumerate(entry(content, "images", list, where)):
        number = entry(picture, "id", int, f"{where}, image {i}")
        if number not in category:
            raise UserError(f"{where}: picture {number} has no annotation, and so no class")
        paths.append(entry(picture, "file_name", str, f"{where}, image {i}"))
        labels.append(str(category[number]))
    return paths, labels
