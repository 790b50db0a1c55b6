"""ImageNet and its low-shot subsets."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modalities.image.observations import KIND, ImageFiles, checked_view
from worldjepa.data import DataSource, ProbeSplits
from worldjepa.data.files import check_share
from worldjepa.data.labels import class_folders, label_by_folder, labelled, read_lines
from worldjepa.data.paths import check_folder, scan
from worldjepa.data.splits import probe_splits
from worldjepa.data.views import Views
from worldjepa.errors import UserError


class ImageNet(DataSource):
    """ImageNet-1k or anything else in its layout: `train/<class>/*.JPEG` and `val/<class>/*.JPEG`.

    Probes are trained on the training part, less 20 % of it on which their settings are chosen, and tested on `val/`.

    Args:
        root: the folder that holds `train/` and `val/`.
        subset: a file with the names of the labelled images, one a line, as the published 1 % and 10 % lists have them
            (`n01440764_10074.JPEG`; the class is what comes before the last `_`): probes are trained on exactly these.
        subset_train: learn from the images of the subset alone, too.
        val_labels: where the images in `val/` are not in class folders, as in the official archive: a file with the
            class folder's name of each image, one a line, in the order of the file names.
        size: side of the square views in pixels.
        channels: 1 for grey, 3 for RGB.
        crop_scale: range of the area of training crops, as a fraction of the image (I-JEPA, official configurations).
        seed: decides which images probes choose their settings on.
        max_bad_fraction: training stops when more than this share of the images it has seen cannot be read.
        views: how several views of an image are made for training, in place of one crop; the group `views` says.

    Raises:
        UserError: the layout is another one, or the subset names images that are not there.
    """

    def __init__(
        self,
        root: str,
        subset: str | None = None,
        subset_train: bool = False,
        val_labels: str | None = None,
        size: int = 224,
        channels: int = 3,
        crop_scale: Sequence[float] = (0.3, 1.0),
        seed: int = 0,
        max_bad_fraction: float = 0.05,
        views: Views | None = None,
    ):
        self.channels, self.seed, self.val_labels = channels, seed, val_labels
        self.view = checked_view(size, channels, crop_scale, views)
        self.max_bad_fraction = check_share(max_bad_fraction)
        self.root = check_folder(root)
        train = check_folder(os.path.join(self.root, "train"))
        files = ImageFiles(train, scan(train, KIND), self.view)
        self._classes = class_folders(files)
        if not self._classes:
            raise UserError(f"{train} must hold one folder of images for each class, and nothing else, e.g. n01440764/")
        self._files = label_by_folder(files, self._classes)
        if subset_train and subset is None:
            raise UserError("subset_train needs subset, the file that lists the images")
        self._subset = None if subset is None else _listed(subset, self._files)
        self._learn_from_subset = subset_train

    def train(self) -> ImageFiles:
        """All training images, or those of the subset."""
        if self._learn_from_subset and self._subset is not None:
            return self._files.select(np.flatnonzero(self._subset))
        return self._files

    def probe(self) -> ProbeSplits:
        """Labelled splits; with a subset, exactly that for training, and for validation none of it.

        Raises:
            UserError: `val/` is missing, or its images are in no class folders and `val_labels` is not given.
        """
        splits = probe_splits(self._files, None, self._test(), self.seed)
        if self._subset is None:
            return splits
        listed = self._files.select(np.flatnonzero(self._subset))
        names = set(listed.paths)
        assert isinstance(splits.val, ImageFiles)
        others = np.array([path not in names for path in splits.val.paths], np.bool_)
        return ProbeSplits(listed, splits.val.select(np.flatnonzero(others)), splits.test)

    def _test(self) -> ImageFiles:
        root = check_folder(os.path.join(self.root, "val"))
        files = ImageFiles(root, scan(root, KIND), self.view)
        flat = not any("/" in path for path in files.paths)
        if self.val_labels is None and flat:
            raise UserError(
                f"the images in {root} are not sorted into class folders (val/n01440764/...): sort them as in train/, "
                "or give val_labels=FILE, a text file with the class folder's name of each image, one a line, in the "
                "order of the file names"
            )
        if self.val_labels is None:
            return label_by_folder(files, self._classes)
        if not flat:
            raise UserError(f"val_labels is given, but {root} has class folders: use one of the two")
        return labelled(files, read_lines(self.val_labels, "val_labels"), self._classes, self.val_labels)


def _listed(subset: str, files: ImageFiles) -> NDArray[np.bool_]:
    """True for the files that the list names.

    Raises:
        UserError: the list is missing, is empty or names files that are not there.
    """
    wanted = {line if "/" in line else f"{line.rpartition('_')[0]}/{line}" for line in read_lines(subset, "subset")}
    member = np.fromiter((path in wanted for path in files.paths), np.bool_, len(files))
    if member.sum() < len(wanted):
        missing = sorted(wanted - {files.paths[int(index)] for index in np.flatnonzero(member)})
        raise UserError(
            f"{len(missing)} of the {len(wanted)} images listed in {subset} are not in {files.root}: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}"
        )
    return member
