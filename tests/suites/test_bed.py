"""Answers on data whose answers are known: what is for learning, choosing and testing is kept apart, in folds too."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

import numpy as np
import pytest
import torch
from evaluate.test_judge import Greys, Rows
from torch import Tensor

from worldjepa.bench import bed as beds
from worldjepa.bench.bed import Bed
from worldjepa.bench.encoders import Device
from worldjepa.bench.examples import SPLIT, Examples, Held, fold_rounds, held, some
from worldjepa.bench.jobs import Spec
from worldjepa.bench.probes import told
from worldjepa.bench.subject import Subject, layers_of
from worldjepa.bench.tasks import Suite, Task
from worldjepa.data import ProbeSplits
from worldjepa.encoders import ViT
from worldjepa.errors import Unreadable
from worldjepa.evaluate.embed import embed
from worldjepa.evaluate.features import LAST, LAST_FOUR
from worldjepa.evaluate.finetune import Recipe
from worldjepa.evaluate.neighbours import neighbours
from worldjepa.evaluate.results import Split, r2
from worldjepa.evaluate.supervised import Budget, Known, supervised
from worldjepa.interop import Pretrained

CPU = torch.device("cpu")
PLACE = Device(CPU, nullcontext, "32-true", 16)


class Torn(Greys):
    """Some cannot be read; an observation says how often it was asked for."""

    def __init__(self, count: int, seed: int, torn: tuple[int, ...] = ()) -> None:
        super().__init__(count, seed)
        self.seed, self.torn, self.asked = seed, torn, 0

    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        self.asked += 1
        if index in self.torn:
            raise Unreadable(f"{index} is torn")
        return self.images[index]

    def fingerprint(self) -> str:
        return f"greys {self.seed} {len(self)}"


def task(factor: str | None = "level", metric: str = "top1") -> Task:
    return Task("greys", "Greys.", "image", "greys", metric, factor=factor, probes=("knn", "ridge"))


def bed(examples: Examples, share: float = 1.0) -> Bed:
    encoder = Rows()
    model = Pretrained(encoder, None, {"encoder": {"_target_": "evaluate.test_judge.Rows"}, "steps": 0})
    suite = Suite("s", "S.", ("greys",), share=share, supervised=Budget(30, 32, 1e-2, checks=2))
    return Bed(Subject("m", "m", model, "image", None, None), examples, {"count": 1}, suite, PLACE, lambda text: None)


def whole(*parts: Torn) -> Examples:
    return Examples(dict(zip(ProbeSplits._fields, parts, strict=True)), (SPLIT,), {})


@pytest.fixture(autouse=True)
def fresh(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path))


def test_an_answer_is_that_of_the_probe() -> None:
    parts = Torn(120, 1), Torn(60, 2), Torn(80, 3)
    found = bed(whole(*parts)).answer(Spec(task(), "trained", "knn", 0))
    splits = []
    for part in parts:
        embedded = embed(Rows(), part, list(range(len(part))), 16, CPU)
        splits.append(Split(embedded.x, torch.from_numpy(part.factors["level"].index)))
    expected = neighbours(*splits, 4)
    assert torch.equal(found.outcome, expected.correct)
    assert (found.score, found.chosen) == (expected.scores["top1"], expected.chosen)
    assert found.counts == (120, 60, 80)


def test_what_cannot_be_read_is_left_out_and_counted() -> None:
    parts = Torn(120, 1, torn=(3,)), Torn(60, 2), Torn(80, 3, torn=(0, 79))
    lying = bed(whole(*parts))
    found = [lying.answer(Spec(task(), row, "ridge", 0)) for row in ("trained", "raw input", "supervised")]
    assert {one.examples for one in found} == {found[0].examples}
    assert [len(one.outcome) for one in found] == [78] * 3
    assert [one.unreadable for one in found[:2]] == [3, 3]
    other = bed(whole(parts[0], parts[1], Torn(80, 3))).answer(Spec(task(), "raw input", "ridge", 0))
    assert other.examples != found[0].examples


def test_every_fold_is_tested_once_and_never_learned_from() -> None:
    folds = {str(fold): Torn(30 + fold, fold) for fold in range(1, 5)}
    rounds = fold_rounds(list(folds))
    assert rounds[3] == ("4", ("2", "3"), ("1",), ("4",))
    for one in rounds:
        assert not {*one.train} & {*one.val, *one.test}
    found = bed(Examples(folds, rounds, {})).answer(Spec(task(), "raw input", "ridge", 0))
    scores = []
    for one in rounds:
        joined = {
            role: Split(
                torch.cat([folds[name].images.float().flatten(1) for name in names]),
                torch.cat([torch.from_numpy(folds[name].factors["level"].index) for name in names]),
            )
            for role, names in zip(("train", "val", "test"), one[1:], strict=True)
        }
        from worldjepa.evaluate.ridge import ridge

        scores.append(ridge(joined["train"], joined["val"], joined["test"], 4))
    assert [found.scores[f"fold/{one.name}"] for one in rounds] == [one.scores["top1"] for one in scores]
    assert found.score == pytest.approx(np.mean([one.scores["top1"] for one in scores]))
    assert torch.equal(found.outcome, torch.cat([one.correct for one in scores]))
    taught = bed(Examples(folds, rounds, {})).answer(Spec(task(), "supervised", "finetune", 0))
    assert len(taught.outcome) == sum(map(len, folds.values()))


def test_fine_tuning_is_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    lying = bed(whole(Torn(64, 1), Torn(30, 2), Torn(41, 3)))
    encoder = ViT(_patches(), dim=16, depth=2, heads=2, init="xavier")
    lying.subject.model.encoder = encoder
    monkeypatch.setattr(beds, "TUNING", Recipe(lrs=(3e-3,), epochs=6, batch=16, warmup=1, layer_decay=1.0))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    found = lying.answer(Spec(task(), "trained", "finetune", 0))
    assert found.chosen == {"lr": 3e-3}
    assert found.counts == (64, 30, 41)
    assert found.score > 40
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_a_share_is_drawn_by_the_seed_from_every_class() -> None:
    lying = bed(whole(Torn(120, 1), Torn(60, 2), Torn(80, 3)), share=0.5)
    first, again, other = (lying.answer(Spec(task("coin"), "raw input", "ridge", seed)) for seed in (0, 0, 1))
    assert first.counts[0] == pytest.approx(60, abs=1)
    assert torch.equal(first.outcome, again.outcome)
    assert not torch.equal(first.outcome, other.outcome)


def test_the_facts_tell_results_apart() -> None:
    parts = Torn(40, 1), Torn(20, 2), Torn(20, 3)
    lying = bed(whole(*parts))
    spec = Spec(task(), "trained", "knn", 0)
    facts = lying.facts(spec)
    assert facts == bed(whole(*parts)).facts(spec)
    others = [
        lying.facts(spec._replace(seed=1)),
        lying.facts(spec._replace(probe="ridge")),
        lying.facts(spec._replace(row="raw input")),
        lying.facts(spec._replace(task=task("coin"))),
        bed(whole(*parts), share=0.5).facts(spec),
        bed(whole(parts[0], parts[1], Torn(20, 4))).facts(spec),
    ]
    assert all(one != facts for one in others)


def test_the_mean_of_the_outcomes_is_the_r2() -> None:
    rng = torch.Generator().manual_seed(0)
    actual = torch.randn(50, 3, generator=rng, dtype=torch.float64)
    predicted = actual + 0.3 * torch.randn(50, 3, generator=rng, dtype=torch.float64)
    assert float(told(predicted, actual).mean()) == pytest.approx(float(r2(predicted, actual).mean()))
    assert float(told(actual.mean(0).expand_as(actual), actual).mean()) == pytest.approx(0, abs=1e-12)


def test_tags_are_ranked_by_all_rows() -> None:
    """The level shows and the coin does not: of five classes four can be told."""
    parts = Torn(120, 1), Torn(60, 2, torn=(7,)), Torn(80, 3, torn=(0,))
    values = {
        name: torch.cat([one_hot(part, "level", 4), one_hot(part, "coin", 2)[:, :1]], 1)
        for name, part in zip(ProbeSplits._fields, parts, strict=True)
    }
    asked = task(None, "map")
    lying = bed(whole(*parts)._replace(values=values))
    rows = (("trained", "ridge"), ("raw input", "knn"), ("supervised", "finetune"), ("chance", "none"))
    trained, raw, ceiling, chance = (lying.answer(Spec(asked, row, probe, 0)) for row, probe in rows)
    assert chance.score == pytest.approx(100 * float(values["test"].mean(0).mean()))
    for found in (trained, raw):
        assert found.score > chance.score + 30
        assert found.counts == (120, 59, 79)
        assert found.unreadable == 2
    assert {one.examples for one in (trained, raw, ceiling)} == {trained.examples}
    assert ceiling.score > chance.score
    assert ceiling.outcome is trained.outcome is None
    half = bed(whole(*parts)._replace(values=values), share=0.5).answer(Spec(asked, "trained", "ridge", 1))
    assert half.counts == (60, 59, 79)


def test_the_class_among_five_by_folds_and_shares() -> None:
    folds = {str(fold): Torn(40 + fold, fold) for fold in range(3)}
    lying = bed(Examples(folds, fold_rounds(list(folds)), {}), share=0.5)
    found = lying.answer(Spec(task("level", "recall5"), "trained", "ridge", 0))
    assert found.scores["recall5"] == found.score == 100  # there are but four
    assert {name for name in found.scores if name.startswith("fold/")} == {"fold/0", "fold/1", "fold/2"}
    assert found.outcome is not None
    assert len(found.outcome) == 40 + 41 + 42
    assert found.counts[0] == pytest.approx(20, abs=2)


def one_hot(part: Torn, factor: str, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(part.factors[factor].index), classes).float()


def test_supervised_training_learns_what_shows_and_is_repeated_by_its_seed() -> None:
    splits = ProbeSplits(Torn(256, 1), Torn(80, 2), Torn(100, 3))
    known = {
        name: Known(*(torch.from_numpy(part.factors[name].index) for part in splits), classes)  # type: ignore[misc]
        for name, classes in (("level", 4), ("coin", 2))
    }
    level = [torch.from_numpy(part.factors["level"].index) for part in splits]
    numbers = [torch.stack([one, 3 - one], 1).double() for one in level]
    known["numbers"] = Known(numbers[0], numbers[1], numbers[2], 0)

    def learn(seed: int) -> Any:
        torch.manual_seed(5)
        encoder = ViT(cast(Any, _patches()), dim=16, depth=1, heads=2, init="xavier")
        return supervised(encoder, splits, known, Budget(80, 32, 4e-3, checks=4, augment=False), CPU, seed)

    found, again = learn(0), learn(0)
    assert float((found["level"].predicted == level[2]).double().mean()) > 0.9
    assert 0.3 < float((found["coin"].predicted == known["coin"].test).double().mean()) < 0.7
    assert float(r2(found["numbers"].predicted.double(), numbers[2]).mean()) > 0.7
    for name, one in found.items():
        assert torch.equal(one.predicted, again[name].predicted)
        assert one.step in (20, 40, 60, 80)


def _patches() -> Any:
    from modalities.image.tokenizer import Patches

    return Patches(4, 16, channels=1)


def test_held_observations_are_read_once_and_cannot_be_altered() -> None:
    source = Torn(6, 1, torn=(4,))
    kept = held(source)
    assert isinstance(kept, Held)
    before = source.asked
    kept.observe(2).fill_(0)  # type: ignore[union-attr]
    assert torch.equal(cast(Tensor, kept.observe(2)), source.images[2])
    assert source.asked == before + 1
    with pytest.raises(Unreadable):
        kept.observe(4)
    assert kept.fingerprint() == source.fingerprint()


def test_some_are_spread_evenly() -> None:
    source = Torn(100, 1)
    few = some(source, 5)
    assert [few.name(index) for index in range(5)] == [f"sample {index}" for index in (0, 25, 50, 74, 99)]
    assert few.factors["level"].index.tolist() == source.factors["level"].index[[0, 25, 50, 74, 99]].tolist()
    assert few.fingerprint() != some(source, 6).fingerprint() != source.fingerprint()
    assert some(source, 100) is some(source, None) is source


def test_layers_are_the_last_four_where_they_are_told() -> None:
    deep = ViT(_patches(), dim=16, depth=4, heads=2)
    assert layers_of(deep) is LAST_FOUR
    assert layers_of(ViT(_patches(), dim=16, depth=3, heads=2)) is LAST
    assert layers_of(Rows()) is LAST
