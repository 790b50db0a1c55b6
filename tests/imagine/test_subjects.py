"""What is asked of models and how it is shown: blocks of pictures, futures of world models, and who judges them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from modalities.image.tokenizer import Patches
from modalities.trajectory.encoders import ConvFrames
from modalities.trajectory.rooms import RoomsEnv
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.imagine.blocks import Blocks
from worldjepa.imagine.decoders import Condition, Decoder
from worldjepa.imagine.judge import Factor, educate, faded
from worldjepa.imagine.known import cycled, wandered
from worldjepa.imagine.measure import ROWS, Pair, judged, pictures, spread
from worldjepa.imagine.network import UNet
from worldjepa.imagine.paint import HIDDEN, colours, covered, scaled, sheet
from worldjepa.imagine.rollouts import Rollouts
from worldjepa.imagine.subject import Decoded, Scenes, Tile
from worldjepa.jepa import JEPA
from worldjepa.nn.actions import ActionSpec
from worldjepa.nn.positions import SinCos
from worldjepa.objectives import SmoothL1
from worldjepa.predictors import MaskTokenViT
from worldjepa.targets import EMA, Mutual
from worldjepa.types import Grid, Masks, Tokens
from worldjepa.vectors import ResidualMLP
from worldjepa.world.model import WorldModel

CPU = torch.device("cpu")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def looking(channels: int = 1) -> JEPA:
    """A model of pictures on 4-pixel patches with random weights."""
    torch.manual_seed(0)
    encoder = ViT(Patches(4, 12, channels), positions=SinCos(axes="wh"), dim=12, depth=1, heads=2)
    predictor = MaskTokenViT(input_dim=12, dim=12, depth=1, heads=2, positions=SinCos(axes="wh"))
    return JEPA(encoder, predictor, EMA(encoder, 1), SmoothL1()).eval()


def photographs(count: int, channels: int = 1, side: int = 32) -> Tensor:
    return torch.randint(256, (count, channels, side, side), generator=rng(), dtype=torch.uint8)


def test_a_block_holds_the_tokens_and_the_pixels_of_its_place() -> None:
    model, obs = looking(3), photographs(5, 3)
    subject = Blocks(model, obs.shape[1:])
    scenes = subject.scenes(obs, None, rng(1))
    assert scenes.predicted.shape == scenes.true.shape == (5, 12, 4, 4)
    answers = torch.nn.functional.layer_norm(model.target.released(model.encoder)(obs).x, (12,)).unflatten(1, (8, 8))
    (masks,) = subject.question.sampler(Grid(1, 8, 8), 5, rng(1))
    for row in range(5):
        top, left, height, width = (round(8 * float(share)) for share in scenes.where[row])
        assert (height, width) == (4, 4)
        inside = (slice(top, top + 4), slice(left, left + 4))
        torch.testing.assert_close(scenes.true[row].permute(1, 2, 0), answers[row][inside])
        pixels = obs[row, :, 4 * top : 4 * top + 16, 4 * left : 4 * left + 16]
        torch.testing.assert_close(scenes.picture[row], pixels / 127.5 - 1)
        seen = scenes.seen[row].view(8, 8)
        assert not seen[inside].any()
        assert set(seen.flatten().nonzero()[:, 0].tolist()) == set(masks.context[row, 0].tolist())
        alone = Masks(masks.context[row : row + 1], masks.target[row : row + 1, :1])
        seen_alone = model.encoder(obs[row : row + 1], keep=alone.context)
        predicted = model.predictor(seen_alone, Grid(1, 8, 8).pos()[alone.target])
        torch.testing.assert_close(scenes.predicted[row].flatten(1).T, predicted.x[0, 0], atol=1e-5, rtol=1e-4)


def test_predictions_of_a_block_know_nothing_of_its_pixels() -> None:
    model, obs = looking(), photographs(3)
    subject = Blocks(model, obs.shape[1:])
    one = subject.scenes(obs, None, rng())
    other = obs.clone()
    for row in range(3):
        at = subject.place(one.where[row])
        other[row, :, at.top : at.bottom, at.left : at.right] = 0
    two = subject.scenes(other, None, rng())
    torch.testing.assert_close(one.predicted, two.predicted)
    assert not torch.allclose(one.true, two.true)


def test_large_blocks_are_decoded_at_a_smaller_scale() -> None:
    torch.manual_seed(0)
    encoder = ViT(Patches(40, 12, 1), positions=SinCos(axes="wh"), dim=12, depth=1, heads=2)
    predictor = MaskTokenViT(input_dim=12, dim=12, depth=1, heads=2, positions=SinCos(axes="wh"))
    model = JEPA(encoder, predictor, EMA(encoder, 1), SmoothL1()).eval()
    subject = Blocks(model, (1, 320, 320), share=0.25)
    scenes = subject.scenes(photographs(1, side=320), None, rng())
    assert scenes.picture.shape == (1, 1, 54, 54)


def decoded(condition: Condition, shape: tuple[int, ...]) -> Decoded:
    """Black and white samples, a grey control."""
    b = len(condition.x)
    samples = torch.stack([torch.full((b, *shape), -1.0), torch.full((b, *shape), 1.0)], 1)
    return Decoded(samples, torch.zeros(b, *shape))


def test_a_row_shows_samples_at_their_place_and_hides_what_was_not_seen() -> None:
    obs = photographs(2)
    subject = Blocks(looking(), obs.shape[1:])
    rows = subject.rows(obs, None, rng(), lambda condition: decoded(condition, (1, 16, 16)))
    captions = ["input", "context", "sample 1", "sample 2", "regression", "truth", "spread"]
    assert [[tile.caption for tile in row] for row in rows] == [captions] * 2
    scenes = subject.scenes(obs, None, rng())
    for row, where, seen in zip(rows, scenes.where, scenes.seen, strict=True):
        at = subject.place(where)
        middle = (3 * (at.top + at.bottom) // 2, 3 * (at.left + at.right) // 2)  # tiles show every pixel three times
        by_name = {tile.caption: tile.pixels for tile in row}
        for name, value in (("sample 1", 0), ("sample 2", 255), ("regression", 128)):
            assert by_name[name][middle].tolist() == [value] * 3
        assert by_name["truth"][middle].tolist() == by_name["input"][middle].tolist()
        cell = next(cell for cell in (~seen).view(8, 8).nonzero().tolist() if not _inside(cell, where))
        for name in ("context", "sample 1", "truth"):
            assert tuple(by_name[name][cell[0] * 12 + 6, cell[1] * 12 + 6]) == HIDDEN


def _inside(cell: list[int], where: Tensor) -> bool:
    top, left, height, width = (round(8 * float(share)) for share in where)
    return top <= cell[0] < top + height and left <= cell[1] < left + width


def test_what_cannot_be_drawn_is_refused() -> None:
    model = looking()
    with pytest.raises(UserError, match="blocks are imagined in pictures"):
        Blocks(model, (1, 4, 32, 32))
    with pytest.raises(UserError, match="only uint8 pictures"):
        Blocks(model, (1, 32, 32)).scenes(photographs(2).float(), None, rng())
    views = JEPA(model.encoder, model.predictor, Mutual(model.encoder), SmoothL1())
    with pytest.raises(UserError, match="compares views"):
        Blocks(views, (1, 32, 32)).scenes(photographs(2), None, rng())


def wandering(history: int = 1) -> WorldModel:
    torch.manual_seed(0)
    spec = ActionSpec(2, low=[-1.0, -1.0], high=[1.0, 1.0])
    predictor = ResidualMLP(input_dim=6, history=history, actions=spec, dim=8, depth=1)
    return WorldModel(ConvFrames(6, 2, 16, 4, 8), predictor).eval()


def walks(count: int, frames: int) -> tuple[Tensor, Tokens]:
    obs = torch.randint(256, (count, frames, 2, 16, 16), generator=rng(), dtype=torch.uint8)
    pos = torch.zeros(count, frames - 1, 3)
    pos[..., 0] = torch.arange(frames - 1)
    return obs, Tokens(torch.rand(count, frames - 1, 2, generator=rng()) * 2 - 1, pos)


@pytest.mark.parametrize("history", [1, 2])
def test_a_future_is_what_the_world_model_imagines_step_by_step(history: int) -> None:
    world = wandering(history)
    obs, cond = walks(8, 6)
    subject = Rollouts(world, obs.shape[1:])
    scenes = subject.scenes(obs, cond, rng(2))
    assert scenes.picture.shape == (8, 2, 16, 16)
    codes = world.encode(obs)
    reached = set()
    for row in range(8):
        frame = int(subject.frame(scenes.where)[row])
        reached.add(frame)
        torch.testing.assert_close(scenes.picture[row], scaled(obs[row, frame]))
        torch.testing.assert_close(scenes.true[row, :, 0, 0], codes.x[row, frame, 0])
        frames = list(codes.x[row : row + 1, :history].unbind(1))
        acts = world.members[0].normalised(cond.x[row : row + 1])
        while len(frames) <= frame:
            seen = slice(len(frames) - history, len(frames))
            frames.append(world.members[0].step(torch.stack(frames[seen], 1), codes.pos, acts[:, seen]))
        torch.testing.assert_close(scenes.predicted[row, :, 0, 0], frames[frame][0, 0])
    assert len(reached) > 1
    assert scenes.seen.sum() == 8 * history
    with pytest.raises(UserError, match="leave nothing to imagine"):
        Rollouts(world, (1, 2, 16, 16))


def test_a_trajectory_is_drawn_in_lines() -> None:
    obs, cond = walks(2, 6)
    subject = Rollouts(wandering(), obs.shape[1:])
    rows = subject.rows(obs, cond, rng(), lambda condition: decoded(condition, (2, 16, 16)))
    assert [row[0].caption for row in rows] == [
        "real: seen",
        "sample 1: seen",
        "sample 2: seen",
        "regression: seen",
    ] * 2
    assert [tile.caption for tile in rows[0][1:]] == ["after 1", "after 2", "after 4", "trail"]
    np.testing.assert_array_equal(rows[0][0].pixels[::6, ::6], colours(scaled(obs[:1, 0]))[0])
    image = sheet(rows)
    assert image.size == (5 * (96 + 6) + 6, 8 * (96 + 14 + 6) + 6)


def test_states_of_recorded_episodes_go_with_their_pictures() -> None:
    environment = RoomsEnv("two_rooms", size=16)
    subject = Rollouts(wandering(), (5, 2, 16, 16))
    known = wandered(subject, environment, np.arange(12), 3, CPU)
    point = known.scenes.picture[:, 0] + 1  # [N, 16, 16]
    at = (torch.arange(16) + 0.5) / 16
    mass = point.sum((1, 2))
    centre = torch.stack([(point.sum(1) * at).sum(1) / mass, (point.sum(2) * at).sum(1) / mass], 1)
    inside = ((known.factors["state"].values - 0.5).abs() < 0.35).all(1)
    assert inside.any()
    torch.testing.assert_close(centre[inside], known.factors["state"].values[inside], atol=0.02, rtol=0)


def striped(count: int, seed: int) -> tuple[Scenes, dict[str, Factor]]:
    """Pictures brighter at the top or at the bottom, at any height told by a number."""
    draws = rng(seed)
    kind = torch.randint(2, (count,), generator=draws)
    level = torch.rand(count, 1, generator=draws)
    ramp = torch.linspace(-0.5, 0.5, 8)[None, :, None] * (kind * 2 - 1)[:, None, None]
    picture = (ramp + level[:, :, None] - 0.5).expand(-1, 8, 8)[:, None]
    code = torch.cat([kind[:, None].float(), level], 1)[..., None, None]
    scenes = Scenes(code, code, torch.zeros(count, 1), picture, torch.ones(count, 1, dtype=torch.bool))
    return scenes, {"kind": Factor(kind, 2), "level": Factor(level, 0)}


class Known(Decoder):
    """Draws what the code says, in samples that are `shifted` in level, or all alike."""

    def __init__(self, right: bool, shift: float) -> None:
        super().__init__(UNet(1, (2, 1, 1), 1, width=8, levels=1), (1, 8, 8))
        self.right, self.shift = right, shift

    def loss(self, picture: Tensor, condition: Condition, rng: torch.Generator) -> Tensor:
        raise AssertionError("it is not trained")

    def sample(self, condition: Condition, count: int, rng: torch.Generator) -> Tensor:
        kind, level = condition.x[:, 0, 0, 0], condition.x[:, 1]
        sign = (kind * 2 - 1) if self.right else torch.zeros_like(kind)
        ramp = torch.linspace(-0.5, 0.5, 8)[None, :, None] * sign[:, None, None]
        drawn = (ramp + level - 0.5).expand(-1, 8, 8)[:, None, None].expand(-1, count, -1, -1, -1).clone()
        return drawn + self.shift * torch.arange(count)[:, None, None, None]


def test_the_judge_tells_right_from_wrong() -> None:
    judge = educate(*striped(400, 0), seed=0, steps=40)
    scenes, factors = striped(100, 1)
    shown = pictures(Pair(Known(True, 0.2), Known(False, 0.0)), scenes, 0, CPU)
    found = judged(judge, shown, scenes, factors, radius=0.15)
    share = {row: found["kind"]["share"][row]["mean"] for row in ROWS}
    assert share["truth"] > 0.95
    assert share["samples"] > 0.9
    assert share["regression"] < 0.75
    assert share["batch mean"] < 0.75
    more = found["kind"]["more_than"]["regression"]
    assert more["mean"] == pytest.approx(share["samples"] - share["regression"])
    assert more["p"] < 0.01
    errors = found["level"]["median_error"]
    assert errors["truth"] < errors["samples"]  # every other sample is shifted by 0.2
    assert found["level"]["share"]["truth"]["mean"] > 0.9
    assert spread(shown)["of_samples"] == pytest.approx(0.02, rel=1e-3)  # 0 and 0.2


def test_the_judge_is_shown_blurred_and_pale_pictures_too() -> None:
    picture = torch.randn(400, 1, 16, 16, generator=rng())
    seen = faded(picture, rng(1))
    alike = (seen == picture).flatten(1).all(1)
    assert 0.4 < float(alike.float().mean()) < 0.6
    assert float(seen[~alike].std()) < 0.5 * float(picture.std())
    torch.testing.assert_close(seen.mean((1, 2, 3)), picture.mean((1, 2, 3)), atol=0.15, rtol=0)
    flat = torch.full((4, 2, 8, 8), 0.3)
    torch.testing.assert_close(faded(flat, rng()), flat)


def test_colours_and_covers() -> None:
    values = torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 1, 3)
    assert colours(values)[0, 0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
    two = torch.tensor([[-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]).view(1, 2, 1, 3)
    assert colours(two)[0, 0].tolist() == [[255] * 3, [230, 120, 20], [40] * 3]
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    hidden = np.array([[True, False], [False, True]])
    shown = covered(pixels, hidden, (0, 0, 1, 2))
    np.testing.assert_array_equal(shown[:2, 2:], pixels[:2, 2:])
    np.testing.assert_array_equal(shown[0, :2], pixels[0, :2])
    assert len(np.unique(shown[1, :2].reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(shown[2:, 2:].reshape(-1, 3), axis=0)) == 1


def test_captions_stand_where_they_change(tmp_path: Path) -> None:
    tile = np.zeros((10, 20, 3), np.uint8)
    rows = [[Tile("a", tile), Tile("b", tile)], [Tile("a", tile), Tile("b", tile)], [Tile("c", tile), Tile("b", tile)]]
    assert sheet(rows).size == (2 * 26 + 6, 3 * 10 + 2 * 14 + 4 * 6)


def test_indices_are_repeated_where_there_are_too_few() -> None:
    assert list(cycled(3, 7)) == [0, 1, 2, 0, 1, 2, 0]
    assert list(cycled(5, 3)) == [0, 2, 4]
