"""The video data sets that `data=` in a configuration can name."""

from modalities.video.diving import Diving48
from modalities.video.embedded import Moving
from modalities.video.epic import EpicKitchens
from modalities.video.folder import Videos
from modalities.video.jester import Jester
from modalities.video.kinetics import Kinetics
from modalities.video.listing import VideoList
from modalities.video.something import SomethingSomething

__all__ = [
    "Diving48",
    "EpicKitchens",
    "Jester",
    "Kinetics",
    "Moving",
    "SomethingSomething",
    "VideoList",
    "Videos",
]
