"""The image data sets that `data=` in a configuration can name."""

from modalities.image.ade20k import ADE20K
from modalities.image.cifar import CIFAR10, CIFAR100
from modalities.image.clevr import CLEVR
from modalities.image.davis import DAVIS
from modalities.image.embedded import Patterns, Shapes
from modalities.image.folder import Folder
from modalities.image.imagenet import ImageNet
from modalities.image.inaturalist import INaturalist
from modalities.image.manifest import Manifest
from modalities.image.nyu import NYUDepth
from modalities.image.places import Places205

__all__ = [
    "ADE20K",
    "CIFAR10",
    "CIFAR100",
    "CLEVR",
    "DAVIS",
    "Folder",
    "INaturalist",
    "ImageNet",
    "Manifest",
    "NYUDepth",
    "Patterns",
    "Places205",
    "Shapes",
]
