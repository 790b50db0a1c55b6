"""The image data sets that `data=` in a configuration can name."""

from modalities.image.embedded import Patterns, Shapes
from modalities.image.folder import Folder
from modalities.image.imagenet import ImageNet
from modalities.image.manifest import Manifest

__all__ = ["Folder", "ImageNet", "Manifest", "Patterns", "Shapes"]
