"""Sounds: which part of a spectrogram is asked for, how it is drawn, and that it can be heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from modalities.audio.frontend import FRONT_ENDS
from modalities.audio.heard import wave
from modalities.audio.imagined import LEFT, SPAN, Spectrograms
from modalities.audio.textures import play_textures
from modalities.audio.tokenizer import Patches
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.imagine.decoders import Condition
from worldjepa.imagine.paint import HIDDEN
from worldjepa.imagine.subject import Decoded, Part
from worldjepa.jepa import JEPA
from worldjepa.nn.positions import SinCos
from worldjepa.objectives import SmoothL1
from worldjepa.predictors import MaskTokenViT
from worldjepa.targets import EMA

PARTS = [Part(0.2, 2), Part(future=16)]
SMALL = FRONT_ENDS["small_16k"]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def played(count: int, hops: int = 32) -> Tensor:
    """Textures as spectrograms `[B, 1, T, F]`."""
    sounds = play_textures(count, hops, SMALL.hop, (SMALL.edges() / SMALL.rate).numpy())
    return SMALL(torch.from_numpy(sounds.waves))[:, None, :hops]


def listening(front_end: str = "small_16k") -> JEPA:
    """A model of spectrograms on patches of 8 x 8 with random weights, fitted to textures."""
    torch.manual_seed(0)
    positions = SinCos(axes="ht")
    encoder = ViT(Patches(8, 12, front_end), positions=positions, dim=12, depth=1, heads=2)
    predictor = MaskTokenViT(input_dim=12, dim=12, depth=1, heads=2, positions=positions)
    if front_end == "small_16k":
        encoder.tokenizer.fit(played(20))
    return JEPA(encoder, predictor, EMA(encoder, 1), SmoothL1()).eval()


def subject_of(part: Part, front_end: str = "small_16k") -> Spectrograms:
    model = listening(front_end)
    tokenizer = model.encoder.tokenizer
    assert isinstance(tokenizer, Patches)
    subject = tokenizer.subject(model, (1, 32, tokenizer.front_end.bins), part)
    assert isinstance(subject, Spectrograms)
    return subject


@pytest.mark.parametrize("part", PARTS)
def test_a_part_holds_the_tokens_and_the_cells_of_its_place(part: Part) -> None:
    subject, obs = subject_of(part), played(3)
    scenes = subject.scenes(obs, None, rng(1))
    tokens = subject.model.target.released(subject.model.encoder)(obs).x
    answers = torch.nn.functional.layer_norm(tokens, (12,)).unflatten(1, (4, 8))
    deviations = (obs[:, 0] - subject.tokenizer.mean) / subject.tokenizer.std
    for row in range(3):
        cells = (4, 8, 4, 8)  # of the lattice, in time and in pitch
        begin, low, length, height = (
            round(axis * float(share)) for share, axis in zip(scenes.where[row], cells, strict=True)
        )
        assert (length, height) == ((2, 8) if part.future else (3, 3))
        inside = (slice(begin, begin + length), slice(low, low + height))
        torch.testing.assert_close(scenes.true[row].permute(1, 2, 0), answers[row][inside])
        part_of = deviations[row, 8 * begin : 8 * (begin + length), 8 * low : 8 * (low + height)]
        torch.testing.assert_close(scenes.picture[row, 0], (part_of / SPAN).clamp(-1, 1))
        assert not scenes.seen[row].view(4, 8)[inside].any()


def test_predictions_of_a_part_know_nothing_of_it() -> None:
    subject, obs = subject_of(PARTS[0]), played(3)
    one = subject.scenes(obs, None, rng())
    other = obs.clone()
    for row in range(3):
        begin, low, end, high = subject.place(one.where[row])
        other[row, :, begin:end, low:high] = 0
    two = subject.scenes(other, None, rng())
    torch.testing.assert_close(one.predicted, two.predicted)
    assert not torch.allclose(one.true, two.true)


def decoded(subject: Spectrograms, condition: Condition) -> Decoded:
    """One sample of the softest and one of the loudest, a control of means."""
    shape = (len(condition.x), 1, *subject.size)
    return Decoded(torch.stack([torch.full(shape, -1.0), torch.full(shape, 1.0)], 1), torch.zeros(shape))


def test_a_row_has_axes_and_shows_samples_at_their_place() -> None:
    subject, obs = subject_of(PARTS[0]), played(2)
    rows = subject.rows(obs, None, rng(), lambda condition: decoded(subject, condition))
    captions = ["input", "context", "sample 1", "sample 2", "regression", "truth", "spread"]
    assert [[tile.caption for tile in row] for row in rows] == [captions] * 2
    scenes = subject.scenes(obs, None, rng())
    for row, where, seen in zip(rows, scenes.where, scenes.seen, strict=True):
        first, *others = (tile.pixels for tile in row)
        assert {tile.shape for tile in others} == {(first.shape[0], first.shape[1] - LEFT, 3)}
        assert (first[:, :LEFT] < 100).any()  # ink
        place = subject.place(where)
        # Time runs to the right and pitch upwards, every cell is a square of two pixels.
        middle = 2 * (64 - (place.low + place.high) // 2), place.begin + place.end
        by_name = {tile.caption: tile.pixels for tile in row}
        soft, loud = (int(by_name[f"sample {number}"][middle].mean()) for number in (1, 2))
        assert soft == 255
        assert loud < 60
        unseen = [cell for cell in (~seen).view(4, 8).nonzero().tolist() if not _inside(cell, where)]
        for time, pitch in unseen:
            at = 2 * (64 - 8 * pitch - 4), 2 * (8 * time + 4)
            assert tuple(by_name["context"][at]) == tuple(by_name["truth"][at]) == HIDDEN


def _inside(cell: list[int], where: Tensor) -> bool:
    begin, low, length, height = (axis * float(share) for share, axis in zip(where, (4, 8, 4, 8), strict=True))
    return bool(begin <= cell[0] < begin + length and low <= cell[1] < low + height)


@pytest.mark.parametrize("name", ["small_16k", "mel_16k", "mel_32k"])
def test_a_sound_has_the_spectrogram_that_it_was_made_of(name: str) -> None:
    front_end = FRONT_ENDS[name]
    sounds = play_textures(2, 40, front_end.hop, (front_end.edges() / front_end.rate).numpy(), (20.0, 25.0))
    spectrogram = front_end(torch.from_numpy(sounds.waves))
    found = wave(front_end, spectrogram)
    assert torch.equal(found, wave(front_end, spectrogram))
    assert found.shape == (2, 40 * front_end.hop)
    again = front_end(found)
    inner = slice(2, -2)  # both ends are mirrored
    both = torch.stack([spectrogram[:, inner].flatten(), again[:, inner].flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.9
    assert abs(float(both[0].mean() - both[1].mean())) < 0.5
    other = torch.corrcoef(torch.stack([spectrogram[0, inner].flatten(), again[1, inner].flatten()]))[0, 1]
    assert float(other) < 0.6


def test_sounds_are_written_with_the_part_in_its_place(tmp_path: Path) -> None:
    subject, obs = subject_of(Part(future=16)), played(2)
    besides = subject.besides(obs, None, rng(), lambda condition: decoded(subject, condition))
    names = ["context", "sample-1", "sample-2", "regression", "truth"]
    assert list(besides.files) == [f"sounds/{number:02d}-{name}.wav" for number in (1, 2) for name in names]
    (tmp_path / "sounds").mkdir()
    heard: dict[str, np.ndarray] = {}
    for name in names:
        besides.files[f"sounds/01-{name}.wav"](tmp_path / f"sounds/01-{name}.wav")
        heard[name], rate = soundfile.read(tmp_path / f"sounds/01-{name}.wav", dtype="float32")
        assert rate == 16_000
        assert heard[name].shape == (31 * SMALL.hop,)
    power = {name: float(np.square(samples[18 * SMALL.hop :]).mean()) for name, samples in heard.items()}
    assert power["context"] < 1e-3 * power["truth"]
    assert power["sample-1"] < power["regression"] < power["sample-2"]
    assert np.abs(heard["sample-2"]).max() <= 0.96
    truth = SMALL(torch.from_numpy(heard["truth"]))[2:-2]
    likeness = torch.corrcoef(torch.stack([truth.flatten(), obs[0, 0, 2 : 2 + len(truth)].flatten()]))[0, 1]
    assert float(likeness) > 0.85


def test_what_cannot_be_heard_is_said() -> None:
    with pytest.raises(UserError, match="Kaldi"):
        wave(FRONT_ENDS["kaldi_16k"], torch.zeros(1, 8, 128))
    subject = subject_of(Part(), "kaldi_16k")
    besides = subject.besides(torch.zeros(1, 1, 32, 128), None, rng(), lambda condition: decoded(subject, condition))
    assert not besides.files
    assert "cannot be inverted" in besides.notices[0]


def test_what_cannot_be_shown_is_refused() -> None:
    model = listening()
    tokenizer = model.encoder.tokenizer
    assert isinstance(tokenizer, Patches)
    with pytest.raises(UserError, match="only spectrograms"):
        tokenizer.subject(model, (16_000,), Part())
    with pytest.raises(UserError, match="future=4: a multiple of the 8 frames"):
        subject_of(Part(future=4))
    with pytest.raises(UserError, match="only floating-point"):
        subject_of(Part()).scenes(played(1).byte(), None, rng())
