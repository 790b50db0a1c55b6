"""NSynth: which note is it, and of what kind of instrument?"""

from __future__ import annotations

from modalities.audio.files import SoundFiles, checked_view
from worldjepa.data.paths import PathTable, check_folder
from worldjepa.data.published import HeldOut, Published, factor
from worldjepa.data.tables import entry, existing, read_json, required
from worldjepa.errors import unknown

LAYOUT = "nsynth-{train,valid,test}/examples.json, each with the recordings audio/NAME.wav beside it"
PITCHES = [str(pitch) for pitch in range(128)]
"""MIDI's numbers."""


class NSynth(Published):
    """NSynth: single notes, in the published splits.

    The factors are `pitch`, a number of MIDI's, and `family`, the kind of instrument. Recordings that are listed and not there
    are counted and left out.

    Args:
        root: the folder that the three archives are unpacked in.
        front_end: name of the front end, see `modalities.audio.frontend`.
        frames: length of the spectrograms.
        seconds: how much of a recording is heard, by default as much as the frames span.
        max_bad_fraction: training stops when more than this share of the recordings it has seen cannot be read.

    Raises:
        UserError: the layout is another one, or a setting is out of its range.
    """

    channels = 1

    def __init__(
        self,
        root: str,
        front_end: str = "mel_16k",
        frames: int = 400,
        seconds: float | None = None,
        max_bad_fraction: float = 0.05,
    ):
        self.view = checked_view(front_end, frames, seconds)
        self.root = check_folder(root)
        self._families: list[str] = []
        super().__init__(self._split("train"), max_bad_fraction=max_bad_fraction)

    def held_out(self) -> HeldOut:
        """The published splits."""
        return HeldOut(self._split("valid"), self._split("test"))

    def _split(self, split: str) -> SoundFiles:
        home = f"nsynth-{split}"
        where = required(self.root, [f"{home}/examples.json"], LAYOUT)
        notes = read_json(where, dict)
        names = sorted(notes)
        pitches = [str(entry(notes[name], "pitch", int, f"{where}, {name}")) for name in names]
        families = [entry(notes[name], "instrument_family_str", str, f"{where}, {name}") for name in names]
        self._families = self._families or sorted(set(families))
        for kind, found, allowed in (("pitch", pitches, PITCHES), ("family", families, self._families)):
            strange = sorted(set(found) - set(allowed))
            if strange:
                raise unknown(f"{where}: {kind}", strange[0], allowed)
        factors = {"pitch": factor(pitches, PITCHES), "family": factor(families, self._families)}
        paths = [f"{home}/audio/{name}.wav" for name in names]
        there = existing(self.root, paths, "recordings", where)
        files = SoundFiles(self.root, PathTable(paths), self.view, factors).select(there)
        assert isinstance(files, SoundFiles)
        return files
