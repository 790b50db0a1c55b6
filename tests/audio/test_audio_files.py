"""Sound files of every kind, sound and damaged, as a user might bring them."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from modalities.audio.decode import read_stretch
from modalities.audio.files import SoundFiles, checked_view, spectrogram
from modalities.audio.folder import Sounds
from modalities.audio.resample import LARGEST_TERM, _filter, nearest_ratio, resample
from worldjepa.data.paths import PathTable
from worldjepa.errors import Unreadable, UserError

RATE = 16_000


def tone(rate: int, seconds: float, channels: int = 1, hertz: float = 440.0) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def write(path: Path, wave: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, subtype=subtype)
    return path


def observations(root: Path, *names: str, frames: int = 16) -> SoundFiles:
    return SoundFiles(str(root), PathTable(names), checked_view("mel_16k", frames, None))


def middle(left_over: float) -> float:
    return left_over / 2


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "PCM_U8"),
        ("a.wav", "FLOAT"),
        ("a.wav", "MS_ADPCM"),
        ("a.flac", None),
        ("a.ogg", None),
        ("a.mp3", None),
        ("a.aiff", None),
    ],
)
def test_every_format_gives_the_same_sound(name: str, subtype: str | None, tmp_path: Path) -> None:
    write(tmp_path / name, tone(RATE, 0.5), subtype=subtype)
    write(tmp_path / "plain.wav", tone(RATE, 0.5), subtype="FLOAT")
    heard = observations(tmp_path, name).observe(0)
    plain = observations(tmp_path, "plain.wav").observe(0)
    loud = plain > plain.max() - 6  # what is far below the tone is the formats' own noise
    # Formats that lose something may delay the sound by some samples.
    assert float((heard - plain)[loud].abs().median()) < 0.2


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 44_101, 48_000, 96_000])
def test_every_rate_gives_the_same_sound(rate: int, tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(rate, 0.5), rate)
    write(tmp_path / "b.wav", tone(RATE, 0.5))
    a, b = (observations(tmp_path, name).observe(0) for name in ("a.wav", "b.wav"))
    assert a.shape == b.shape == (1, 16, 80)
    inner = slice(2, -2)  # the filter sees the ends of the recording
    assert torch.equal(a[0, inner].argmax(-1), b[0, inner].argmax(-1))
    loud = b[0, inner] > b.max() - 6
    assert float((a - b)[0, inner][loud].abs().max()) < 0.1


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_mixed(channels: int, tmp_path: Path) -> None:
    wave = (
        tone(RATE, 0.3, channels) * np.linspace(0, 2, channels, dtype=np.float32) if channels > 1 else tone(RATE, 0.3)
    )
    write(tmp_path / "a.wav", wave, subtype="FLOAT")
    stretch = read_stretch(str(tmp_path / "a.wav"), 1.0, middle)
    np.testing.assert_allclose(stretch.wave.numpy(), tone(RATE, 0.3)[:, 0], atol=1e-6)


def test_the_middle_without_a_generator_and_anywhere_with_one(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.concatenate([tone(RATE, 1, hertz=300), tone(RATE, 1, hertz=3_000)]))
    files = observations(tmp_path, "a.wav", frames=20)
    assert torch.equal(files.observe(0), files.observe(0))
    views = [files.observe(0, torch.Generator().manual_seed(seed)) for seed in range(12)]
    assert torch.equal(views[3], files.observe(0, torch.Generator().manual_seed(3)))
    pitches = {int(view[0, 10].argmax()) for view in views}
    assert len(pitches) > 1  # from both halves
    asked = []
    read_stretch(str(tmp_path / "a.wav"), 0.5, lambda left_over: asked.append(left_over) or 0.0)
    assert asked == [1.5]


def test_no_more_is_read_than_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.wav", tone(RATE, 3))
    decoded, read = [], soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, n, **how: decoded.append(n) or read(self, n, **how))
    assert len(read_stretch(str(tmp_path / "a.wav"), 0.25, middle).wave) == RATE / 4
    assert sum(decoded) == RATE / 4


def test_many_channels_are_mixed_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, (RATE, 6)).astype(np.float32)
    path = str(write(tmp_path / "a.wav", wave, subtype="FLOAT"))
    whole = read_stretch(path, 1.0, middle).wave
    torch.testing.assert_close(whole, torch.from_numpy(wave).mean(1), rtol=1e-5, atol=1e-7)
    decoded, read = [], soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, n, **how: decoded.append(n) or read(self, n, **how))
    monkeypatch.setattr("modalities.audio.decode._BLOCK", 6_000)
    assert torch.equal(read_stretch(path, 1.0, middle).wave, whole)
    assert max(decoded) == 1_000


def test_the_filter_of_a_pair_of_rates_is_made_once() -> None:
    _filter.cache_clear()
    for rate in (44_100, 22_050, 88_200, 44_100):
        resample(torch.zeros(rate), rate, RATE)
    assert (_filter.cache_info().misses, _filter.cache_info().hits) == (3, 1)


def test_short_recordings_are_followed_by_silence(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(RATE, 0.05))
    seen = observations(tmp_path, "a.wav").observe(0)[0]
    assert seen[:4].max() > 0
    torch.testing.assert_close(seen[-4:], torch.full((4, 80), math.log(torch.finfo(torch.float32).eps)))


def test_clipped_and_loud_recordings_are_taken_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "clipped.wav", (tone(RATE, 0.3) * 20).clip(-1, 1))
    write(
        tmp_path / "loud.wav", tone(RATE, 0.3) * 20, subtype="FLOAT"
    )  # beyond full scale, as floating-point files may be
    write(tmp_path / "silent.wav", np.zeros((RATE, 1), np.float32))
    files = observations(tmp_path, "clipped.wav", "loud.wav", "silent.wav")
    for index in range(3):
        assert files.observe(index).isfinite().all()
    assert files.observe(1).max() > files.observe(0).max()


def damaged(root: Path) -> dict[str, tuple[Path, str]]:
    """Every kind of bad file, and a word of the reason."""
    root.mkdir(exist_ok=True)
    (root / "empty.wav").touch()
    (root / "text.wav").write_text("this is no sound, whatever its name says\n" * 20)
    (root / "folder.wav").mkdir()
    write(root / "one.wav", tone(RATE, 1 / RATE))
    write(root / "none.wav", np.zeros((0, 1), np.float32))
    wave = tone(RATE, 0.3)
    wave[100] = np.nan
    write(root / "nan.wav", wave, subtype="FLOAT")
    wave[100] = np.inf
    write(root / "inf.wav", wave, subtype="FLOAT")
    write(root / "cut.flac", np.random.default_rng(0).normal(0, 0.1, (RATE, 1)).astype(np.float32))
    (root / "cut.flac").write_bytes((root / "cut.flac").read_bytes()[:6_000])
    write(root / "head.ogg", tone(RATE, 1))
    (root / "head.ogg").write_bytes((root / "head.ogg").read_bytes()[:30])
    (root / "header.wav").write_bytes((write(root / "x.wav", tone(RATE, 1))).read_bytes()[:44])
    (root / "x.wav").unlink()
    write(root / "slow.wav", tone(RATE, 1), rate=10)
    reasons = {
        "empty.wav": "empty",
        "text.wav": "cannot be decoded",
        "folder.wav": "is a folder",
        "gone.wav": "no such file",
        "one.wav": "too short",
        "none.wav": "too short",
        "nan.wav": "not finite",
        "inf.wav": "not finite",
        "cut.flac": "cannot be decoded as a sound .*lost sync",
        "head.ogg": "cannot be decoded",
        "header.wav": "too short",
        "slow.wav": "10 Hz",
    }
    return {name: (root / name, why) for name, why in reasons.items()}


def test_damaged_files_are_unreadable_and_say_why(tmp_path: Path) -> None:
    for name, (path, why) in damaged(tmp_path).items():
        files = SoundFiles(str(path.parent), PathTable([name]), checked_view("mel_16k", 128, None))
        with pytest.raises(Unreadable, match=why) as caught:
            files.observe(0)
        assert str(caught.value).startswith(f"{path}: "), name


def test_a_header_that_claims_gigabytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(RATE, 0.5))
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", 0xFFFFFF00)
    path.write_bytes(bytes(content))
    # What is there is read; nothing takes the memory that the header speaks of.
    assert len(read_stretch(str(path), 10.0, middle).wave) == RATE / 2


def test_a_wrong_ending_is_no_harm(tmp_path: Path) -> None:
    write(tmp_path / "a.flac", tone(RATE, 0.3))
    (tmp_path / "a.flac").rename(tmp_path / "a.mp3")
    assert observations(tmp_path, "a.mp3").observe(0).isfinite().all()


# --- resampling ------------------------------------------------------------------------------------------------------


def test_resampling_keeps_a_tone() -> None:
    for rate in (8_000, 44_100, 44_101, 47_999):
        wave = torch.from_numpy(tone(rate, 0.5)[:, 0])
        made = resample(wave, rate, RATE)
        assert abs(len(made) - RATE / 2) <= RATE / 2 / 1_000
        expected = torch.from_numpy(tone(RATE, 0.5)[:, 0])
        inner = slice(500, 2_000)
        torch.testing.assert_close(made[inner], expected[inner], atol=2e-2, rtol=0)


def test_a_batch_is_resampled_as_its_members() -> None:
    waves = torch.randn(3, 2, 4_410, generator=torch.Generator().manual_seed(0))
    together = resample(waves, 44_100, RATE)
    assert together.shape == (3, 2, 1_600)
    torch.testing.assert_close(together[2, 1], resample(waves[2, 1], 44_100, RATE), rtol=1e-4, atol=1e-5)
    assert resample(waves, RATE, RATE) is waves


def test_ratios_with_large_terms_are_approached() -> None:
    assert nearest_ratio(44_100, 16_000) == nearest_ratio(441, 160)
    for rate in (44_101, 8_001, 15_990, 47_999, 191_999):
        ratio = nearest_ratio(rate, RATE)
        assert max(ratio.numerator, ratio.denominator) <= LARGEST_TERM
        assert float(ratio) * rate / RATE == pytest.approx(1, abs=5e-4)


# --- views -----------------------------------------------------------------------------------------------------------


def test_the_published_views() -> None:
    view = checked_view("kaldi_16k", 1024, 10.0)  # 998 frames of Kaldi's, then zeros
    seen = spectrogram(torch.randn(160_000, generator=torch.Generator().manual_seed(0)), view)[0]
    assert seen.shape == (1024, 128)
    assert (seen[:998] != 0).all()
    assert (seen[998:] == 0).all()
    assert spectrogram(torch.zeros(320_000), checked_view("kaldi_32k", 512, 10.0)).shape == (1, 512, 96)
    assert spectrogram(torch.zeros(97_280), checked_view("mel_16k", 608, None)).shape == (1, 608, 80)


def test_settings_out_of_range() -> None:
    with pytest.raises(UserError, match="frames must be at least 1: 0"):
        checked_view("mel_16k", 0, None)
    with pytest.raises(UserError, match=r"seconds must be at least 0.025"):
        checked_view("mel_16k", 16, 0.001)


def test_a_folder_of_recordings(tmp_path: Path) -> None:
    for kind in "ab":
        for take in range(5):
            write(tmp_path / kind / f"{take}.wav", tone(RATE, 0.2, hertz=300 if kind == "a" else 900))
    source = Sounds(str(tmp_path), frames=16)
    splits = source.probe()
    assert splits is not None
    assert len(source.train()) == 8
    assert len(splits.test) == 2
    assert splits.test.factors["class"].names == ["a", "b"]
    assert source.train().shape == (1, 16, 80)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no sounds in"):
        Sounds(str(tmp_path / "empty"))
