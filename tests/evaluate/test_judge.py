"""The judge on data whose answers are known: one factor that shows in the brightness, one that shows nowhere."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn

from worldjepa.data import Labels, Observations, ProbeSplits
from worldjepa.evaluate.embed import MOST_RAW, embed, raw, shrink, subset
from worldjepa.evaluate.judge import Judge, alarm, prediction, spread, table
from worldjepa.evaluate.settings import ProbeSettings
from worldjepa.interfaces import Encoder, Objective, Predictor, TargetEncoder
from worldjepa.jepa import JEPA
from worldjepa.objectives import SmoothL1, Sum, VarianceCovariance
from worldjepa.types import Grid, Masks, Tokens

CPU = torch.device("cpu")


class Greys(Observations):
    """Noisy grey images: `level` decides how bright the left half is, `coin` is tossed and shows nowhere."""

    shape = (1, 8, 8)

    def __init__(self, count: int, seed: int, labelled: bool = True) -> None:
        rng = np.random.default_rng(seed)
        level, coin = rng.integers(4, size=count), rng.integers(2, size=count)
        noise = rng.integers(-20, 21, size=(count, *self.shape))
        brightness = np.where(np.arange(8) < 4, 60 + 40 * level[:, None, None, None], 120)  # [N, 1, 1, 8]
        self.images = torch.from_numpy((brightness + noise).astype(np.uint8))
        self.factors = (
            {"level": Labels(level, list("abcd")), "coin": Labels(coin, ["head", "tail"])} if labelled else {}
        )

    def __len__(self) -> int:
        return len(self.images)

    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        assert rng is None, "evaluations see the plain view"
        return self.images[index]

    def fingerprint(self) -> str:
        return "greys"


class Rows(Encoder):
    """Every row of an image is a token; dropout makes it wrong to be left in training mode."""

    dim = 8

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, obs: Tensor | Tokens, keep: Tensor | None = None) -> Tokens:
        assert isinstance(obs, Tensor)
        x = self.dropout(obs[:, 0].float() / 255)
        tokens = Tokens(x, self.grid(obs.shape[1:]).pos().expand(len(x), -1, -1))
        return tokens if keep is None else tokens.select(keep)

    def grid(self, obs_shape: Any) -> Grid:
        return Grid(1, 8, 1)


@pytest.fixture(scope="module")
def splits() -> ProbeSplits:
    return ProbeSplits(Greys(600, 1), Greys(200, 2), Greys(400, 3))


@pytest.fixture
def judge(splits: ProbeSplits) -> Judge:
    return Judge(ProbeSettings(batch_size=64), splits, Greys(50, 4, labelled=False), CPU)


NAMES = ["eval/linear_top1", "eval/knn_top1", "eval/coin/linear_top1", "eval/coin/knn_top1"]


def test_the_first_factor_is_the_headline(judge: Judge) -> None:
    assert judge.factors == {"level": 4, "coin": 2}
    assert list(judge.encoder(Rows())) == [*NAMES, "collapse/rankme", "collapse/feature_std"]
    assert list(judge.raw_input()) == NAMES
    assert set(judge.chance()) == set(NAMES)


@pytest.mark.parametrize("what", ["encoder", "raw input"])
def test_probes_find_what_is_there_and_nothing_else(judge: Judge, what: str) -> None:
    scores = judge.encoder(Rows()) if what == "encoder" else judge.raw_input()
    assert scores["eval/linear_top1"] > 97
    assert scores["eval/knn_top1"] > 97
    assert 40 < scores["eval/coin/linear_top1"] < 60
    assert 40 < scores["eval/coin/knn_top1"] < 60


def test_chance_is_the_most_frequent_class_of_the_test_set(judge: Judge, splits: ProbeSplits) -> None:
    chance = judge.chance()
    for factor, prefix in (("level", "eval/"), ("coin", "eval/coin/")):
        index = splits.test.factors[factor].index.tolist()
        most = max(index.count(value) for value in set(index))
        assert chance[f"{prefix}linear_top1"] == chance[f"{prefix}knn_top1"] == pytest.approx(most / 4)
    assert 25 < chance["eval/linear_top1"] < 35


def test_rank_and_spread_are_of_the_training_split(judge: Judge, splits: ProbeSplits) -> None:
    z = torch.stack([image[0].float().div(255).mean(0) for image in splits.train.images])  # type: ignore[attr-defined]
    scores = judge.encoder(Rows())
    assert {name: scores[name] for name in spread(z)} == pytest.approx(spread(z), rel=1e-5)


@pytest.mark.parametrize(("enabled", "labelled"), [(True, False), (False, True)])
def test_without_labels_or_probes_only_rank_and_spread(enabled: bool, labelled: bool, splits: ProbeSplits) -> None:
    plain = Greys(50, 4, labelled=False)
    judge = Judge(ProbeSettings(enabled=enabled), splits if labelled else None, plain, CPU)
    assert judge.factors == judge.chance() == judge.raw_input() == {}
    z = plain.images[:, 0].float().div(255).mean(1)
    assert judge.encoder(Rows()) == pytest.approx(spread(z), rel=1e-5)


def test_no_more_samples_are_looked_at_than_asked(splits: ProbeSplits) -> None:
    seen = []

    class Counted(Rows):
        def forward(self, obs: Tensor | Tokens, keep: Tensor | None = None) -> Tokens:
            seen.append(len(obs))
            return super().forward(obs, keep)

    Judge(ProbeSettings(max_train=30, max_test=10), splits, splits.train, CPU).encoder(Counted())
    assert seen == [30, 30, 10]


def test_a_subset_is_spread_evenly() -> None:
    data = Greys(101, 0)
    assert subset(data, 5) == [0, 25, 50, 75, 100]
    assert subset(data, None) == subset(data, 101) == subset(data, 500) == list(range(101))
    assert len(set(subset(data, 60))) == 60


@pytest.mark.parametrize("training", [True, False])
def test_embeddings_are_those_of_a_plain_loop(training: bool) -> None:
    data, encoder, indices = Greys(9, 5), Rows().train(training), [7, 0, 3, 8, 1, 2, 5]
    found = embed(encoder, data, indices, batch_size=3, device=CPU)
    assert encoder.training == encoder.dropout.training == training
    assert not found.x.requires_grad
    assert found.indices == indices
    encoder.eval()
    for row, index in zip(found.x, indices, strict=True):
        torch.testing.assert_close(row, encoder(data.observe(index)[None]).x[0].mean(0))


@pytest.mark.parametrize(
    ("shape", "factor", "cut"),
    [
        ((3, 64, 64), 2, (64, 64)),
        ((3, 4, 64, 64), 4, (64, 64)),
        ((1, 67, 131), 2, (66, 130)),
        ((1, 64, 64), 1, (64, 64)),
    ],
    ids=["image", "video", "odd sides", "small enough"],
)
def test_raw_input_is_averaged_down(shape: tuple[int, ...], factor: int, cut: tuple[int, int]) -> None:
    batch = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    small = shrink(batch)
    height, width = cut[0] // factor, cut[1] // factor
    blocks = batch[..., : cut[0], : cut[1]].reshape(2, *shape[:-2], height, factor, width, factor)
    torch.testing.assert_close(small, blocks.mean((-3, -1)))
    assert small[0].numel() <= MOST_RAW


def test_raw_vectors_are_the_observations(splits: ProbeSplits) -> None:
    found = raw(splits.test, [3, 1], batch_size=1)
    assert found.indices == [3, 1]
    torch.testing.assert_close(found.x, torch.stack([splits.test.observe(i).float().flatten() for i in (3, 1)]))


def code(pos: Tensor) -> Tensor:
    """The right answer at a position: 8 numbers that depend on it."""
    return torch.sin(pos[..., 1:2] * torch.arange(1, 9))


class Coded(TargetEncoder):
    def forward(self, obs: Tensor | Tokens, masks: list[Masks]) -> list[Tokens]:
        pos = Grid(1, 8, 1).pos().expand(len(obs), -1, -1)
        return [Tokens(code(pos), pos).select(mask.target) for mask in masks]


class Blend(Predictor):
    """Knows a share of the answer beyond its mean."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, context: Tokens, query: Tensor, cond: Tokens | None = None, mask: int = 0) -> Tokens:
        answer = code(query)
        mean = answer.mean((0, 1, 2), keepdim=True).expand_as(answer)
        return Tokens(mean + self.share * (answer - mean) if self.share else mean, query)


def trial(share: float, objective: Objective, sets: int = 1) -> dict[str, float]:
    obs = torch.stack([Greys(6, 0).observe(index) for index in range(6)])
    masks = [
        Masks(torch.tensor([[[0, 1]]]).expand(6, 1, 2), torch.tensor([[[2, 3], [5, 6 + n]]]).expand(6, 2, 2))
        for n in range(sets)
    ]
    return prediction(JEPA(Rows().eval(), Blend(share), Coded(), objective), obs, masks)


def test_predicting_the_mean_is_a_ratio_of_one() -> None:
    assert trial(0.0, SmoothL1())["eval/prediction_ratio"] == 1.0


def test_predicting_the_answer_is_a_ratio_of_zero() -> None:
    assert trial(1.0, SmoothL1()) == {
        "eval/prediction_loss": pytest.approx(0.0, abs=1e-12),
        "eval/mean_baseline_loss": pytest.approx(mean_loss([2, 3, 5, 6])),
        "eval/prediction_ratio": pytest.approx(0.0, abs=1e-12),
    }


def mean_loss(targets: list[int]) -> float:
    answer = code(Grid(1, 8, 1).pos()[targets])
    return float(F.smooth_l1_loss(answer.mean(0).expand_as(answer), answer))


def test_the_more_is_known_the_lower_the_ratio() -> None:
    ratios = [trial(share, SmoothL1())["eval/prediction_ratio"] for share in (0.0, 0.3, 0.6, 1.0)]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[1] < 0.6  # near (1 - 0.3) squared


def test_losses_of_several_masks_add_up() -> None:
    both = trial(0.5, SmoothL1(), sets=2)
    assert both["eval/mean_baseline_loss"] == pytest.approx(mean_loss([2, 3, 5, 6]) + mean_loss([2, 3, 5, 7]))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_terms_that_ignore_the_prediction_do_not_count(share: float) -> None:
    assert trial(share, Sum([SmoothL1(), VarianceCovariance()])) == trial(share, SmoothL1())


def numbers(rank: float, std: float) -> dict[str, float]:
    return {"collapse/rankme": rank, "collapse/feature_std": std}


UNTRAINED = numbers(20.0, 0.4)


@pytest.mark.parametrize("scores", [UNTRAINED, numbers(60, 2), numbers(5.1, 0.4), numbers(20, 0.021)])
def test_no_alarm_for_healthy_numbers(scores: dict[str, float]) -> None:
    assert alarm(scores, UNTRAINED) is None


@pytest.mark.parametrize(
    ("scores", "untrained", "told"),
    [
        (numbers(4.9, 0.4), UNTRAINED, ["RankMe", "fell to 4.9", "untrained: 20.0"]),
        (numbers(1.9, 0.4), numbers(2.5, 0.4), ["RankMe", "fell to 1.9", "untrained: 2.5"]),
        (numbers(20, 0.019), UNTRAINED, ["standard deviation", "fell to 0.019", "untrained: 0.4"]),
        (spread(torch.ones(50, 8)), UNTRAINED, ["standard deviation", "fell to 0 ", "untrained: 0.4"]),
    ],
    ids=["rank", "a line", "std", "constant features"],
)
def test_the_alarm_names_what_fell(scores: dict[str, float], untrained: dict[str, float], told: list[str]) -> None:
    advice = alarm(scores, untrained)
    assert advice is not None
    assert advice.startswith("collapse alarm: ")
    assert "optim.lr" in advice
    assert all(part in advice for part in told), advice


def test_the_table_has_every_row_and_column() -> None:
    rows = {
        "chance": {"eval/linear_top1": 12.5},
        "trained encoder": {"eval/linear_top1": 88.06, "eval/hue/knn_top1": 3.0, "eval/prediction_loss": 7.77}
        | {"eval/prediction_ratio": 0.12345}
        | numbers(9.87, 0.4567),
    }
    stream = io.StringIO()
    Console(file=stream, width=200).print(table(rows, title="the title"))
    text = stream.getvalue()
    lines = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    assert list(lines) == ["chance", "trained encoder"]
    assert "the title" in text
    for heading in ("linear %", "hue knn %", "prediction ratio", "rankme", "feature std"):
        assert heading in text
    assert [cell.strip() for cell in lines["chance"].split("│")[2:-1]] == ["12.5", "", "", "", ""]
    assert [cell.strip() for cell in lines["trained encoder"].split("│")[2:-1]] == [
        "88.1",
        "3.0",
        "0.123",
        "9.9",
        "0.457",
    ]
