"""Clips: which part is asked for, what is decoded of it, and the films that show it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from modalities.video import imagined
from modalities.video.imagined import Films
from modalities.video.tokenizer import Tubelets
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.imagine.blocks import Blocks
from worldjepa.imagine.decoders import Condition
from worldjepa.imagine.paint import HIDDEN, OUTLINE, colours, scaled
from worldjepa.imagine.subject import Decoded, Part
from worldjepa.jepa import JEPA
from worldjepa.nn.positions import SinCos
from worldjepa.objectives import L1
from worldjepa.predictors import MaskTokenViT
from worldjepa.targets import EMA

PARTS = [Part(0.25, 2), Part(future=4)]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def watching(channels: int = 1) -> JEPA:
    """A model of clips on tubelets of 2 frames and 4 x 4 pixels with random weights."""
    torch.manual_seed(0)
    positions = SinCos(axes="thw")
    encoder = ViT(Tubelets(4, 12, 2, channels), positions=positions, dim=12, depth=1, heads=2)
    predictor = MaskTokenViT(input_dim=12, dim=12, depth=1, heads=2, positions=positions)
    return JEPA(encoder, predictor, EMA(encoder, 1), L1()).eval()


def clips(count: int, channels: int = 1) -> Tensor:
    return torch.randint(256, (count, channels, 6, 16, 24), generator=rng(), dtype=torch.uint8)


def subject_of(part: Part, channels: int = 1) -> Films:
    model = watching(channels)
    tokenizer = model.encoder.tokenizer
    assert isinstance(tokenizer, Tubelets)
    subject = tokenizer.subject(model, (channels, 6, 16, 24), part)
    assert isinstance(subject, Films)
    return subject


@pytest.mark.parametrize("part", PARTS)
def test_a_part_holds_the_tokens_and_the_frames_of_its_place(part: Part) -> None:
    subject, obs = subject_of(part, 3), clips(3, 3)
    scenes = subject.scenes(obs, None, rng(1))
    tokens = subject.model.target.released(subject.model.encoder)(obs).x
    answers = torch.nn.functional.layer_norm(tokens, (12,)).unflatten(1, (3, 4, 6))  # [B, t, h, w, D]
    for row in range(3):
        top, left, height, width = (
            round(cells * float(share)) for share, cells in zip(scenes.where[row], (4, 6, 4, 6), strict=True)
        )
        start = 1 if part.future else 0
        inside = (slice(start, None), slice(top, top + height), slice(left, left + width))
        assert (height, width) == ((4, 6) if part.future else (2, 2))
        expected = answers[row][inside].permute(0, 3, 1, 2).flatten(0, 1)  # times side by side in D
        torch.testing.assert_close(scenes.true[row], expected)
        frames = obs[row, :, 2 * start :, 4 * top : 4 * (top + height), 4 * left : 4 * (left + width)]
        torch.testing.assert_close(scenes.picture[row], scaled(frames.transpose(0, 1).flatten(0, 1)))
        seen = scenes.seen[row].view(3, 4, 6)
        assert not seen[inside].any()
        assert seen.any()
        if part.future:
            assert seen[:start].all()


@pytest.mark.parametrize("part", PARTS)
def test_predictions_of_a_part_know_nothing_of_it(part: Part) -> None:
    subject, obs = subject_of(part), clips(3)
    one = subject.scenes(obs, None, rng())
    other = obs.clone()
    for row in range(3):
        box, start = subject.place(one.where[row])
        other[row, :, start:, box[0] : box[2], box[1] : box[3]] = 0
    two = subject.scenes(other, None, rng())
    torch.testing.assert_close(one.predicted, two.predicted)
    assert not torch.allclose(one.true, two.true)


def decoded(subject: Films, condition: Condition) -> Decoded:
    """Black and white samples, a grey control."""
    shape = (len(condition.x), (subject.length - subject.start) * subject.channels, *subject.size)
    return Decoded(torch.stack([torch.full(shape, -1.0), torch.full(shape, 1.0)], 1), torch.zeros(shape))


@pytest.mark.parametrize("part", PARTS)
def test_versions_differ_in_the_imagined_part_only(part: Part) -> None:
    subject, obs = subject_of(part), clips(2)
    scenes = subject.scenes(obs, None, rng())
    for index, (place, takes) in enumerate(subject.takes(obs, rng(), lambda condition: decoded(subject, condition))):
        assert [take.name for take in takes] == ["context", "sample 1", "sample 2", "regression", "truth"]
        top, left, bottom, right = place.box
        inside = np.zeros((6, 16, 24), bool)
        inside[place.start :, top:bottom, left:right] = True
        context, *_, truth = (take.frames for take in takes)
        for take, value in zip(takes[1:4], (0, 255, 128), strict=True):
            assert (take.frames[inside] == value).all()
            np.testing.assert_array_equal(take.frames[~inside], context[~inside])
        whole = colours(scaled(obs[index].transpose(0, 1)))
        np.testing.assert_array_equal(truth[inside], whole[inside])
        seen = scenes.seen[index].numpy().reshape(3, 4, 6).repeat(2, 0).repeat(4, 1).repeat(4, 2)
        np.testing.assert_array_equal(context[seen], whole[seen])
        assert (context[~seen] == np.array(HIDDEN)).all()


def test_imagined_frames_are_outlined() -> None:
    subject, obs = subject_of(Part(future=2)), clips(1)
    rows = subject.rows(obs, None, rng(), lambda condition: decoded(subject, condition))
    assert [row[0].caption for row in rows] == [
        f"{name}: frame 1" for name in ("context", "sample 1", "sample 2", "regression", "truth")
    ]
    assert [tile.caption for tile in rows[0][1:]] == [f"frame {number}" for number in range(2, 7)]
    outlined = [tuple(tile.pixels[0, 0]) == OUTLINE for tile in rows[1]]
    assert outlined == [False] * 4 + [True] * 2


def test_a_film_shows_every_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, obs = subject_of(PARTS[0], 3), clips(2, 3)
    besides = subject.besides(obs, None, rng(), lambda condition: decoded(subject, condition))
    assert set(besides.files) == {"imagined.gif", "imagined.mp4"}
    for name, write in besides.files.items():
        write(tmp_path / name)
    size = (5 * (96 + 6) + 6, 14 + 2 * 64 + 3 * 6)
    with Image.open(tmp_path / "imagined.gif") as film:
        assert (film.size, film.n_frames) == (size, 6)  # type: ignore[attr-defined]
        film.seek(5)
        picture = np.array(film.convert("RGB")).astype(int)
    place, takes = subject.takes(obs, rng(), lambda condition: decoded(subject, condition))[0]
    middle = 4 * (place.box[0] + place.box[2]) // 2 + 20, 4 * (place.box[1] + place.box[3]) // 2 + 6
    # Tiles are four times as large and 102 pixels apart; the first sample is black, the second white.
    for number, value in ((1, 0), (2, 255)):
        assert np.abs(picture[middle[0], middle[1] + 102 * number] - value).max() < 24
    with av.open(str(tmp_path / "imagined.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6 * imagined.LOOPS
    assert frames[0].shape == (size[1], size[0], 3)
    monkeypatch.setattr(imagined.importlib.util, "find_spec", lambda name: None)
    without = subject.besides(obs, None, rng(), lambda condition: decoded(subject, condition))
    assert set(without.files) == {"imagined.gif"}
    assert "needs PyAV" in without.notices[0]


@pytest.mark.parametrize(
    ("future", "said"),
    [(3, "a multiple of the 2 frames of a token"), (6, "leaves some of the 6 frames"), (8, "future=8")],
)
def test_ends_that_do_not_fit_are_refused(future: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        subject_of(Part(future=future))


def test_what_cannot_be_shown_is_refused() -> None:
    model = watching()
    with pytest.raises(UserError, match="only clips"):
        Films(model, (6, 16, 24), Part())
    with pytest.raises(UserError, match="only uint8 clips"):
        subject_of(Part()).scenes(clips(1).float(), None, rng())
    with pytest.raises(UserError, match=r"block=0\.7"):
        subject_of(Part(0.7))
    tokenizer = model.encoder.tokenizer
    assert isinstance(tokenizer, Tubelets)
    assert isinstance(tokenizer.subject(model, (1, 32, 32), Part()), Blocks)
    with pytest.raises(UserError, match="an image has no end"):
        tokenizer.subject(model, (1, 32, 32), Part(future=2))
