"""CLEVR: how many things are there, and how near is the nearest?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from modalities.image.observations import ImageFiles, checked_view
from worldjepa.data import Labels
from worldjepa.data.paths import PathTable
from worldjepa.data.published import HeldOut, Published
from worldjepa.data.tables import archive_folder, entry, existing, read_json, required
from worldjepa.data.views import Views
from worldjepa.errors import UserError

LAYOUT = "CLEVR_v1.0 as it is unpacked: images/{train,val}/*.png and scenes/CLEVR_{train,val}_scenes.json"

COUNTS = range(3, 11)
"""Things in a picture; each number is a class (VTAB)."""

DISTANCES = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
"""Between two of these lies the depth of the nearest thing: six classes (VTAB)."""


class CLEVR(Published):
    """CLEVR with VTAB's factors: `count`, 3 to 10 things, and `distance`, the bin of the depth of the nearest one.

    The published test pictures have no labels: `val` is for tests. Pictures that are listed and not there are counted and left
    out.

    Args:
        root: the folder that the archive unpacks to, or the one that it is in.
        size: side of the square views in pixels.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the picture; crops may lose things.
        seed: decides which pictures probes choose their settings on.
        max_bad_fraction: training stops when more than this share of the pictures it has seen cannot be read.
        views: how several views of a picture are made for training, in place of one crop; the group `views` says.

    Raises:
        UserError: the layout is another one, or a setting is out of its range.
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
        self.root = archive_folder(root, "CLEVR_v1.0")
        super().__init__(self._split("train"), seed, max_bad_fraction)

    def held_out(self) -> HeldOut:
        """The pictures of `val` for tests."""
        return HeldOut(None, self._split("val"))

    def _split(self, split: str) -> ImageFiles:
        where = required(self.root, [f"scenes/CLEVR_{split}_scenes.json"], LAYOUT)
        scenes = entry(read_json(where, dict), "scenes", list, where)
        names = [entry(scene, "image_filename", str, f"{where}, scene {i}") for i, scene in enumerate(scenes)]
        things = [entry(scene, "objects", list, f"{where}, scene {i}") for i, scene in enumerate(scenes)]
        paths = [f"images/{split}/{name}" for name in names]
        there = existing(self.root, paths, "pictures", where)
        factors = {
            "count": Labels(_counts(things, where), [str(count) for count in COUNTS]),
            "distance": Labels(
                _distances(things, where),
                [f"{low:g} to {high:g}" for low, high in itertools.pairwise(DISTANCES)],
            ),
        }
        files = ImageFiles(self.root, PathTable(paths), self.view, factors).select(there)
        assert isinstance(files, ImageFiles)
        return files


def _counts(things: list[list[object]], where: str) -> np.ndarray:
    counts = np.array([len(some) for some in things], np.int64)
    strange = (counts < COUNTS.start) | (counts >= COUNTS.stop)
    if strange.any():
        scene = int(np.argmax(strange))
        raise UserError(f"{where}, scene {scene} has {counts[scene]} things: they are 3 to 10")
    return counts - COUNTS.start


def _distances(things: list[list[object]], where: str) -> np.ndarray:
    """The bin of the nearest thing; a depth on the edge of two belongs to the nearer bin."""
    nearest = []
    for i, some in enumerate(things):
        places = [entry(thing, "pixel_coords", list, f"{where}, scene {i}") for thing in some]
        if not all(len(place) == 3 and isinstance(place[2], int | float) for place in places):
            raise UserError(f"{where}, scene {i}: 'pixel_coords' must be column, row and depth")
        nearest.append(min(place[2] for place in places))
    depths = np.array(nearest)
    strange = ~((depths > DISTANCES[0]) & (depths <= DISTANCES[-1]))
    if strange.any():
        scene = int(np.argmax(strange))
        raise UserError(f"{where}, scene {scene}: a depth of {depths[scene]:g} is not within 0 to 100")
    return (np.searchsorted(DISTANCES, depths, side="left") - 1).astype(np.int64)
