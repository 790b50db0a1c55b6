"""Every row of every ablation can be trained, and differs from the others in what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from benchmarks import ablations
from benchmarks.ablations import ABLATIONS, Row, Study
from benchmarks.efficient import frozen
from benchmarks.efficient.frozen import SHARES, composed
from worldjepa.evaluate.cached import weights_hash
from worldjepa.masks import MultiBlock
from worldjepa.train.build import build_model, build_sampler
from worldjepa.train.folder import write_json
from worldjepa.types import Batch, Grid

STUDY = Study(Path("ablations"), 100, 4)
ROWS = {str(STUDY.of(row, 0).name): row for ablation in ABLATIONS.values() for row in ablation.rows}
TOY = ["arch.dim=12", "arch.encoder.depth=1", "arch.predictor.dim=12"]


NUMBERS = ("masks.targets", "masks.target_scale", "masks.context_scale", "masks.min_context")
SIZES = {name: row for name, row in ROWS.items() if row.words and all(word.startswith(NUMBERS) for word in row.words)}
"""Rows that differ from one another in the numbers of the default sampler alone."""
FIRST = {STUDY.of(ablation.rows[0], 0).name for ablation in ABLATIONS.values()}


@pytest.mark.parametrize("name", [name for name in ROWS if name not in SIZES or name in FIRST])
def test_a_row_takes_a_step(name: str) -> None:
    config = composed([*STUDY.words(ROWS[name]), *TOY])
    torch.manual_seed(0)
    model = build_model(config, 10)
    sampler, grid = build_sampler(config), model.encoder.grid((1, 64, 64))
    masks = sampler(grid, 16, torch.Generator().manual_seed(0))
    obs = torch.randint(0, 256, (16, 1, 64, 64), dtype=torch.uint8)
    loss = torch.stack(list(model(Batch(obs, masks)).values())).sum()
    loss.backward()
    moving = [parameter.grad for parameter in model.encoder.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in moving)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_fit_the_grid(name: str) -> None:
    given = OmegaConf.from_dotlist(SIZES[name].words).masks
    sampler = MultiBlock(**OmegaConf.to_container(given))  # type: ignore[arg-type]
    (masks,) = sampler(Grid(1, 8, 8), 16, torch.Generator().manual_seed(0))
    assert masks.target.shape[:2] == (16, given.get("targets", 4))
    low, high = given.get("target_scale", (0.15, 0.2))
    assert low * 64 - 4 <= masks.target.shape[-1] <= high * 64 + 4  # sides are whole
    assert masks.context.shape[-1] >= given.get("min_context", 16)


def test_rows_of_different_words_lie_in_different_folders() -> None:
    rows = [row for ablation in ABLATIONS.values() for row in ablation.rows]
    assert len(ROWS) == len({tuple(row.words) for row in rows})
    for ablation in ABLATIONS.values():
        assert len({row.name for row in ablation.rows}) == len(ablation.rows)


def test_only_what_is_missing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, calls = Study(tmp_path, 100, 16), []

    def train(*words: str) -> float:
        given = dict(word.split("=", 1) for word in words[1:])
        calls.append((given.get("masks", "multiblock"), given["seed"], given["run.steps"]))
        folder = Path(given["run.out"])
        folder.mkdir(parents=True)
        write_json(folder / "report.json", {})
        return 1.0

    def measured(folder: Path, words: list[str], step: int, learner: bool) -> frozen.Scores:
        found = {share: {"test": 50.0, "val": 50.0} for share in SHARES}
        write_json(folder / f"scores-{step}.json", found)
        return found

    monkeypatch.setattr(frozen, "worldjepa", train)
    monkeypatch.setattr(ablations, "measured", measured)
    rows = ABLATIONS["masks"].rows
    assert ablations.estimate(study, rows, [0]) == pytest.approx(5 * (100 * ablations.TRAIN + ablations.JUDGE) / 60)
    for row in (rows[0], rows[3], rows[0]):
        ablations.measure(study, row, 0)
    assert calls == [("multiblock", "0", "100"), ("block", "0", "100")]
    assert ablations.estimate(study, rows, [0]) == pytest.approx(3 * (100 * ablations.TRAIN + ablations.JUDGE) / 60)
    shown = ablations.table(study, ABLATIONS["masks"], [0])
    cells = [list(column.cells) for column in shown.columns]
    assert cells[1] == ["", "50.0", "", "", "50.0", ""]
    assert cells[-1] == ["", *(row.paper for row in rows)]
    write_json(study.scored(rows[3], 0), {share: {"test": 56.5, "val": 0.0} for share in SHARES})
    write_json(study.folder / "untrained-0.json", {share: {"test": 41.0, "val": 0.0} for share in SHARES})
    again = ablations.table(study, ABLATIONS["masks"], [0])
    assert list(again.columns[4].cells) == ["-9.0", "", "", "", "6.5", ""]


def test_where_the_answers_never_change_the_encoder_that_learns_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a fixed target all that is learned is in the other encoder."""
    (fixed,) = (row for row in ABLATIONS["ema"].rows if row.words == ["target.start=1.0"])
    assert [row for ablation in ABLATIONS.values() for row in ablation.rows if row.learner] == [fixed]
    words, judged = [*STUDY.words(fixed), *TOY], []
    torch.manual_seed(0)
    model = build_model(composed(words), 1)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(1.0)
    monkeypatch.setattr(frozen.checkpoint, "load_model", lambda path, other: other.load_state_dict(model.state_dict()))
    monkeypatch.setattr(frozen, "judged", lambda encoder, splits: judged.append(weights_hash(encoder)) or {})
    for folder, learner in ((tmp_path / "a", True), (tmp_path / "b", False)):
        folder.mkdir()
        frozen.measured(folder, words, 1, learner)
    assert judged == [weights_hash(model.encoder), weights_hash(model.target.released(model.encoder))]
    assert judged[0] != judged[1]


def test_the_usual_choice_is_one_of_the_rows() -> None:
    for ablation in ABLATIONS.values():
        assert [row.name for row in ablation.rows].count(ablation.usual) == 1


def test_base_rows_are_the_quick_start() -> None:
    assert STUDY.of(Row("", []), 2).name == "quickstart-2"
