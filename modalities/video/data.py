"""The video data sets that `data=` in a configuration can name."""

from modalities.video.embedded import Moving
from modalities.video.folder import Videos
from modalities.video.kinetics import Kinetics
from modalities.video.listing import VideoList
from modalities.video.something import SomethingSomething

__all__ = ["Kinetics", "Moving", "SomethingSomething", "VideoList", "Videos"]
