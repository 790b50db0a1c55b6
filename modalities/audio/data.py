"""The audio data sets that `data=` in a configuration can name."""

from modalities.audio.audioset import AudioSet
from modalities.audio.commands import SpeechCommands
from modalities.audio.embedded import Tunes
from modalities.audio.folder import Sounds
from modalities.audio.folds import ESC50, UrbanSound8K
from modalities.audio.words import Words

__all__ = ["ESC50", "AudioSet", "Sounds", "SpeechCommands", "Tunes", "UrbanSound8K", "Words"]
