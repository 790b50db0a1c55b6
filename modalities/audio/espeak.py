"""Speech by eSpeak NG, a synthesiser that the optional extra `speech` brings along; it is under the GPL-3.

eSpeak NG draws random numbers that cannot be set back within a process: only a fresh process that speaks the same things in
the same order gives the same samples. It is therefore loaded in a process of its own, which this module is when it is run,
and worldjepa's own process never holds a line of it. This module imports nothing of worldjepa, so that it starts quickly.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PACKAGE = "espeakng_loader"
EXTRA = "worldjepa[speech]"

_SYNCHRONOUS, _DONT_EXIT, _UTF8 = 2, 0x8000, 1
_RATE, _PITCH = 1, 3
"""From eSpeak NG's header speak_lib.h: kinds of output, flags and numbers of parameters."""

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Utterance(NamedTuple):
    """What is to be said, and how."""

    text: str
    accent: str
    """A voice of eSpeak NG for a language, such as `en-us`."""
    variant: str
    """Who speaks: a variant of eSpeak NG's, such as `f3`."""
    speed: int
    """Words a minute, from 80 to 450."""
    pitch: int
    """From 0 to 100; 50 is the variant's own."""


class Spoken(NamedTuple):
    """Utterances one after another."""

    samples: NDArray[np.int16]
    lengths: NDArray[np.int64]
    """Samples of each utterance."""
    rate: int
    """Samples a second."""

    def utterance(self, index: int) -> NDArray[np.int16]:
        """The samples of one of them."""
        end = int(self.lengths[: index + 1].sum())
        return self.samples[end - int(self.lengths[index]) : end]


class EspeakError(Exception):
    """eSpeak NG is missing, or does not do what it should."""


def is_installed() -> bool:
    """Whether the extra is there; nothing is imported to find out."""
    return importlib.util.find_spec(PACKAGE) is not None


def version() -> str:
    """The version of eSpeak NG, asked of the library.

    Raises:
        EspeakError: it does not start.
    """
    return _ask(["version"]).strip()


def speak(utterances: Sequence[Utterance], seed: int = 0) -> Spoken:
    """Speak in a fresh process: the same arguments and the same version give the same samples.

    Raises:
        EspeakError: the process fails; the message says why.
    """
    with tempfile.TemporaryDirectory(prefix="worldjepa-speech-") as folder:
        wanted, made = Path(folder, "wanted.json"), Path(folder, "made.npz")
        wanted.write_text(json.dumps({"seed": seed, "utterances": utterances}), encoding="utf-8")
        _ask(["speak", str(wanted), str(made)])
        with np.load(made, allow_pickle=False) as arrays:
            return Spoken(arrays["samples"], arrays["lengths"], int(arrays["rate"]))


def _ask(words: Sequence[str]) -> str:
    # The child finds what this process finds, also where that was put on the path by hand.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    line = [sys.executable, "-P", "-m", "modalities.audio.espeak", *words]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise EspeakError(f"eSpeak NG failed with exit code {done.returncode}: {last}")
    return done.stdout


# --- in the process of its own ---------------------------------------------------------------------------------------


class Synthesiser:
    """The library, started. There may be one in a process: a second start makes it silent."""

    def __init__(self, seed: int) -> None:
        import espeakng_loader  # type: ignore[import-not-found, import-untyped, unused-ignore]

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.data = Path(espeakng_loader.get_data_path())
        self.rate: int = self.library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(self.data), _DONT_EXIT)
        if self.rate <= 0:
            raise EspeakError(f"eSpeak NG does not start with the data in {self.data}")
        self.library.espeak_Info.restype = ctypes.c_char_p
        self.version = os.fsdecode(self.library.espeak_Info(None))
        self.parts: list[NDArray[np.int16]] = []
        self._callback = _CALLBACK(self._keep)  # kept here, or it would be freed while the library still calls it
        self.library.espeak_SetSynthCallback(self._callback)
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(seed))

    def say(self, said: Utterance) -> NDArray[np.int16]:
        """The samples of an utterance.

        Raises:
            EspeakError: there is no such voice, or nothing is heard.
        """
        voice = f"{said.accent}+{said.variant}"
        self.parts.clear()
        text = said.text.encode() + b"\0"
        # A variant that is not there is passed over by eSpeak NG without a word.
        known = (self.data / "voices" / "!v" / said.variant).is_file()
        if not known or self.library.espeak_SetVoiceByName(voice.encode()):
            raise EspeakError(f"eSpeak NG {self.version} has no voice {voice}")
        failed = (
            self.library.espeak_SetParameter(_RATE, said.speed, 0)
            or self.library.espeak_SetParameter(_PITCH, said.pitch, 0)
            or self.library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, _UTF8, None, None)
        )
        made = np.concatenate(self.parts) if self.parts else np.zeros(0, np.int16)
        if failed or not made.any():
            raise EspeakError(f"'{said.text}' in the voice {voice} gives no sound (code {failed})")
        return made

    def _keep(self, samples: Any, count: int, _: object) -> int:
        if samples and count > 0:
            self.parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0  # go on


def main(words: Sequence[str]) -> int:
    """`version`, or `speak WANTED.json MADE.npz`; returns the exit code."""
    try:
        if list(words) == ["version"]:
            print(Synthesiser(0).version)
            return 0
        _, wanted, made = words
        asked = json.loads(Path(wanted).read_text(encoding="utf-8"))
        synthesiser = Synthesiser(asked["seed"])
        spoken = [synthesiser.say(Utterance(*one)) for one in asked["utterances"]]
    except EspeakError as error:
        print(error, file=sys.stderr)
        return 1
    lengths = np.array([len(one) for one in spoken], np.int64)
    samples = np.concatenate([np.zeros(0, np.int16), *spoken])
    np.savez(made, samples=samples, lengths=lengths, rate=np.int64(synthesiser.rate))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
