"""Draws of a share of the labels, and official lists."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evaluate.cases import clusters
from worldjepa.errors import UserError
from worldjepa.evaluate.lowshot import drawn, listed, rows_of, token_rows_of
from worldjepa.evaluate.neighbours import neighbours
from worldjepa.evaluate.results import TokenSplit

Y = torch.tensor([0] * 300 + [1] * 40 + [2] * 3)[torch.randperm(343, generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize(("share", "expected"), [(0.01, [3, 1, 1]), (0.1, [30, 4, 1]), (1.0, [300, 40, 3])])
def test_every_class_gets_its_share_and_one_at_least(share: float, expected: list[int]) -> None:
    rows = drawn(Y, share, seed=0)
    assert Y[rows].bincount().tolist() == expected
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert torch.equal(rows, drawn(Y, share, seed=0))
    assert (share == 1) == torch.equal(rows, drawn(Y, share, seed=1))


def test_draws_are_even() -> None:
    count = torch.zeros(343)
    for seed in range(400):
        count[drawn(Y, 0.1, seed)] += 1
    assert float(count[Y == 0].min()) / 400 > 0.04
    assert float(count[Y == 0].max()) / 400 < 0.17


def test_any_probe_takes_them() -> None:
    train, val, test = clusters(400), clusters(60, seed=1), clusters(60, seed=2)
    few = rows_of(train, drawn(train.y, 0.1, 0))
    assert len(few.x) == 40
    found = neighbours(few, val, test, 4)
    assert found.scores["top1"] > 60
    tokens = TokenSplit(train.x[:, None], train.y)
    assert token_rows_of(tokens, torch.tensor([3, 5])).x.shape == (2, 1, 6)


def test_an_official_list(tmp_path: Path) -> None:
    names = [f"/data/train/n0{i % 3}/n0{i % 3}_{i}.JPEG" for i in range(9)]
    file = tmp_path / "1percent.txt"
    file.write_text("n02_8.JPEG\nn00_3.JPEG\nn00_3.JPEG\n\nn09_77.JPEG\n")
    found = listed(names, str(file))
    assert found.rows.tolist() == [3, 8]
    assert found.missing == ["n09_77.JPEG"]
    file.write_text("n09_77.JPEG\n")
    with pytest.raises(UserError, match=r"none of its 1 files is there, beginning with n09_77\.JPEG"):
        listed(names, str(file))
    with pytest.raises(UserError, match="have the same file name"):
        listed(["a/1.png", "b/1.png"], str(file))
    with pytest.raises(UserError, match="there is no file"):
        listed(names, str(tmp_path / "none.txt"))


def test_a_share_is_a_share() -> None:
    for share in (0.0, 1.5):
        with pytest.raises(UserError, match="above 0 and at most 1"):
            drawn(Y, share, 0)
