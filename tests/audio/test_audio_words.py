"""The embedded words: the same from the same seed, voices held out, noise as loud as it says, and the extra left alone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from audio.test_audio_training import TOY

from modalities.audio import espeak
from modalities.audio.espeak import EspeakError, Utterance, speak
from modalities.audio.speech import ACCENTS, SPLITS, VOICES, WORDS, add, noise, plan, speak_words, trimmed, voices
from modalities.audio.words import Words
from worldjepa.cli import main
from worldjepa.errors import UserError

SAID = [Utterance(word, ACCENTS[i], VOICES["female"][i], 150, 50) for i, word in enumerate(("yes", "no", "stop"))]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for small sets, few labels each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Words, "probe_sizes", {"train": 80, "val": 40, "test": 40})
        yield tmp_path_factory.mktemp("words")


# --- eSpeak NG -------------------------------------------------------------------------------------------------------


def test_the_same_words_are_the_same_samples() -> None:
    one, same, other = speak(SAID, 3), speak(SAID, 3), speak(SAID, 4)
    assert one.rate == 22_050
    assert len(one.lengths) == 3
    assert int(one.lengths.sum()) == len(one.samples)
    assert np.array_equal(one.samples, same.samples)
    assert not np.array_equal(one.samples, other.samples)  # voices flutter, and a seed decides how
    assert np.array_equal(np.concatenate([one.utterance(i) for i in range(3)]), one.samples)


def test_every_voice_speaks_every_accent() -> None:
    everyone = [
        Utterance("on", accent, name, 180, 50) for names in VOICES.values() for name in names for accent in ACCENTS
    ]
    spoken = speak(everyone)
    heard = {spoken.utterance(i).tobytes() for i in range(len(everyone))}
    assert len(heard) == len(everyone) == 160, "two voices are the same"
    lengths = spoken.lengths / spoken.rate
    assert 0.1 < lengths.min() <= lengths.max() < 1.2


def test_voices_and_accents_change_what_is_heard() -> None:
    slow, fast = speak([SAID[0]._replace(speed=100)]), speak([SAID[0]._replace(speed=300)])
    assert slow.lengths[0] > 1.3 * fast.lengths[0]
    low, high = (pitch(speak([SAID[0]._replace(pitch=value)])) for value in (20, 80))
    assert high > 1.2 * low


def pitch(spoken: espeak.Spoken) -> float:
    """Hertz of the strongest repetition in the middle of the first utterance."""
    wave = spoken.utterance(0).astype(np.float64)
    loudest = int(np.convolve(wave**2, np.ones(2_048), "same").argmax())
    part = wave[max(0, loudest - 1_024) :][:2_048]
    like = np.fft.irfft(np.abs(np.fft.rfft(part, 4_096)) ** 2)[: spoken.rate // 70]
    return spoken.rate / (spoken.rate // 500 + int(like[spoken.rate // 500 :].argmax()))


def test_what_cannot_be_said_is_an_error() -> None:
    with pytest.raises(EspeakError, match=r"eSpeak NG 1\..* has no voice en-us\+nobody"):
        speak([SAID[0]._replace(accent="en-us", variant="nobody")])
    with pytest.raises(EspeakError, match="gives no sound"):
        speak([SAID[0]._replace(text="")])


def test_the_library_stays_out_of_this_process(cache: Path) -> None:
    Words(count=20, frames=32, cache=str(cache)).train()
    assert espeak.PACKAGE not in sys.modules
    assert "espeak" not in Path("/proc/self/maps").read_text()


def test_a_folder_of_strange_modules_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('loaded from the working folder')")
    monkeypatch.chdir(tmp_path)
    assert espeak.version().startswith("1.")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(espeak, "PACKAGE", "no_such_package")
    assert main(["train", "modality=audio", "data=words", f"run.out={tmp_path / 'run'}"]) == 2
    told = capfd.readouterr().err
    assert "data=words is spoken by eSpeak NG, which is not installed: pip install 'worldjepa[speech]'" in told
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()


# --- who says what ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_voices_are_held_out(seed: int) -> None:
    heard = {split: voices(split, seed) for split in SPLITS}
    assert heard["train"] == heard["probe_train"]
    for kind, names in VOICES.items():
        parts = [set(heard[split][kind]) for split in SPLITS[1:]]
        assert [len(part) for part in parts] == [10, 3, 3]
        assert set().union(*parts) == set(names), "no voice is in two of them"
    assert voices("probe_test", seed) != voices("probe_test", seed + 1)


def test_a_plan_is_balanced_and_keeps_to_its_voices() -> None:
    made = plan(410, seed=2, split="probe_test")
    allowed = {name: number for number, names in enumerate(voices("probe_test", 2).values()) for name in names}
    for said, word, kind in zip(made.utterances, made.labels["word"], made.labels["voice"], strict=True):
        assert said.text == WORDS[word]
        assert allowed[said.variant] == kind
    assert set(np.bincount(made.labels["word"]).tolist()) == {20, 21}
    assert sorted(np.bincount(made.labels["voice"]).tolist()) == [200, 210]
    both = np.bincount(made.labels["word"] * 2 + made.labels["voice"])
    assert both.min() >= 10, "words do not go with voices"
    assert len({said.variant for said in made.utterances}) == 6
    assert len({said.accent for said in made.utterances}) == len(ACCENTS)
    assert plan(410, 2, "probe_test").utterances == made.utterances
    assert plan(410, 3, "probe_test").utterances != made.utterances


# --- noise -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr", [-6.0, 0.0, 12.0])
def test_a_word_is_as_loud_as_it_says(snr: float) -> None:
    word = trimmed(speak(SAID).utterance(0))
    background = noise(np.array([0.5]), 20_000, 16_000, np.random.default_rng(0))[0]
    assert np.mean(background**2) == pytest.approx(1, rel=1e-3)
    wave = background.copy()
    add(wave, word, 1_000, snr)
    added = (wave - background)[1_000 : 1_000 + len(word)].astype(np.float64)
    assert 10 * np.log10(np.mean(added**2)) == pytest.approx(snr, abs=0.01)
    assert np.array_equal(wave[:1_000], background[:1_000])
    assert np.corrcoef(added, word)[0, 1] > 0.999


def test_noise_is_of_its_colour() -> None:
    white, brown = (
        np.abs(np.fft.rfft(noise(np.array([0.0, 1.0]), 32_000, 16_000, np.random.default_rng(0)), axis=1)) ** 2
    )
    low, high = slice(1_000, 2_000), slice(8_000, 16_000)  # half a hertz each: around 750 and 6,000
    assert white[low].mean() == pytest.approx(white[high].mean(), rel=0.2)
    assert brown[low].mean() > 30 * brown[high].mean()


def test_silence_before_and_after_is_cut() -> None:
    wave = np.concatenate([np.zeros(500), 1_000 * np.sin(np.arange(2_000)), np.zeros(900)]).astype(np.int16)
    assert len(trimmed(wave)) == pytest.approx(2_000, abs=4)


def test_a_word_longer_than_the_waveform_is_cut() -> None:
    chunks, _ = speak_words(3, 800, 16_000, (60.0, 60.0), 0, "train")
    (batch,) = chunks
    assert batch.waves.shape == (3, 800)
    assert np.isfinite(batch.waves).all()


# --- the data set ----------------------------------------------------------------------------------------------------


def test_the_same_seed_is_the_same_set(cache: Path, tmp_path: Path) -> None:
    def made(folder: Path, **settings: object) -> Words:
        return Words(count=70, frames=32, cache=str(folder), **settings)  # type: ignore[arg-type]

    one, again, other = made(cache), made(tmp_path), made(cache, seed=1)
    first = one.train()
    assert first.shape == (1, 32, 64)
    assert np.isfinite(first.spectrograms).all()
    assert np.array_equal(first.spectrograms, again.train().spectrograms)
    assert first.fingerprint() == again.train().fingerprint() != other.train().fingerprint()
    assert not np.array_equal(first.spectrograms, other.train().spectrograms)
    loud, soft = made(cache, snr=[30.0, 30.0]).train(), made(cache, snr=[-10.0, -10.0]).train()
    assert loud.spectrograms.std(1).mean() > 1.3 * soft.spectrograms.std(1).mean()
    splits = one.probe()
    assert [len(part) for part in splits] == [80, 40, 40]
    assert list(splits.test.factors) == ["word", "voice"]
    assert splits.test.factors["word"].names == list(WORDS)
    assert splits.test.factors["voice"].names == ["female", "male"]


def test_another_version_of_the_synthesiser_is_another_set(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Words(count=20, frames=32, cache=str(cache)).train().fingerprint()
    entries = len(list(cache.iterdir()))
    monkeypatch.setattr(espeak, "version", lambda: "2.0")
    assert Words(count=20, frames=32, cache=str(cache)).train().fingerprint() != here
    assert len(list(cache.iterdir())) == entries + 1


def test_what_is_in_the_cache_is_not_spoken_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Words(count=20, frames=32, cache=str(cache)).train()
    monkeypatch.setattr(espeak, "speak", None)
    monkeypatch.setattr("modalities.audio.speech.speak", None)
    assert len(Words(count=20, frames=32, cache=str(cache)).train()) == 20
    with pytest.raises(TypeError, match="NoneType"):  # it would have been needed
        Words(count=21, frames=32, cache=str(cache)).train()


def test_settings_out_of_range(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="snr must be two levels"):
        Words(snr=[3.0, 1.0])
    with pytest.raises(UserError, match="frames and count must be at least 1"):
        Words(count=0)
    with pytest.raises(UserError, match="seed must not be negative: -1"):
        Words(seed=-1)
    monkeypatch.setattr("modalities.audio.speech.ACCENTS", ("xx",))
    with pytest.raises(UserError, match=r"data=words cannot be spoken: .* has no voice xx"):
        Words(count=3, frames=8, cache=str(tmp_path)).train()


def test_the_small_model_trains_on_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path / "home"))
    words = ["data=words", "data.count=24", "data.frames=32", "masks.min_context=4", "run.steps=2"]
    assert main(["train", "modality=audio", *TOY[1:], f"run.out={tmp_path / 'run'}", *words]) == 0
    composed = (tmp_path / "run/config.yaml").read_text()
    assert "modalities.audio.data.Words" in composed
    shutil.rmtree(tmp_path / "home")
