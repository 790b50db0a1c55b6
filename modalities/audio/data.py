"""The audio data sets that `data=` in a configuration can name."""

from modalities.audio.audioset import AudioSet
from modalities.audio.commands import SpeechCommands
from modalities.audio.embedded import Textures
from modalities.audio.folder import Sounds
from modalities.audio.folds import ESC50, UrbanSound8K
from modalities.audio.fsd50k import FSD50K
from modalities.audio.gtzan import GTZAN
from modalities.audio.hear import HEAR
from modalities.audio.nsynth import NSynth
from modalities.audio.words import Words

__all__ = [
    "ESC50",
    "FSD50K",
    "GTZAN",
    "HEAR",
    "AudioSet",
    "NSynth",
    "Sounds",
    "SpeechCommands",
    "Textures",
    "UrbanSound8K",
    "Words",
]
