"""Features on disk: computed once, taken up after a kill, never mistaken for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evaluate.test_judge import Greys, Rows
from worldjepa.errors import Unreadable, UserError
from worldjepa.evaluate.cached import ARRAY, META, Cached, Identity, Store, weights_hash
from worldjepa.evaluate.features import LAST, TOKENS, Features
from worldjepa.types import Tokens

IDENTITY = Identity("w", {"depth": 1}, {"size": 8}, "greys", "32-true")
CPU = torch.device("cpu")


class Killed(BaseException):
    """What no handler of errors takes."""


class Counting(Rows):
    """Counts the observations that it sees, and dies after so many."""

    def __init__(self, most: int = 10**9) -> None:
        super().__init__()
        self.seen, self.most = 0, most

    def forward(self, obs: Tensor | Tokens, keep: Tensor | None = None) -> Tokens:
        if self.seen >= self.most:
            raise Killed
        self.seen += len(obs)
        return super().forward(obs, keep)


class Torn(Greys):
    """Some observations cannot be read."""

    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        if index in (0, 3, 4, 5):
            raise Unreadable(f"sample {index} is torn")
        return super().observe(index, rng)


DATA = Greys(11, 0)


def features(
    folder: Path, encoder: Any = None, data: Greys = DATA, wanted: Features = LAST, identity: Identity = IDENTITY
) -> Cached:
    encoder = Counting() if encoder is None else encoder
    return Store(folder, shard=3).features(encoder, data, wanted, identity, 2, CPU)


def entry(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_they_are_computed_once(tmp_path: Path) -> None:
    encoder = Counting()
    first = features(tmp_path, encoder)
    assert encoder.seen == 11
    assert encoder.training
    second = features(tmp_path, encoder)
    assert encoder.seen == 11
    expected = DATA.images[:, 0].float().div(255).mean(1)
    torch.testing.assert_close(first.x[:, 0, 0], expected)
    assert torch.equal(first.x, second.x)
    assert first.indices == second.indices == list(range(11))
    assert first.labels(DATA, "level").tolist() == DATA.factors["level"].index.tolist()
    assert sorted(one.name for one in entry(tmp_path).iterdir()) == [ARRAY, META]
    second.x[:] = 0  # copy on write: the file stays as it is
    assert torch.equal(features(tmp_path).x, first.x)


def test_tokens_in_half_the_space(tmp_path: Path) -> None:
    found = Store(tmp_path, "float16").features(Counting(), DATA, TOKENS, IDENTITY, 4, CPU)
    assert found.x.dtype == torch.float16
    torch.testing.assert_close(found.x[:, 0].float(), DATA.images[:, 0].float() / 255, atol=1e-3, rtol=0)
    with pytest.raises(UserError, match="dtype 'bfloat16' is not known"):
        Store(tmp_path, "bfloat16").entry(IDENTITY, LAST)


def test_a_killed_process_goes_on(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        features(tmp_path, Counting(8))  # in the third shard: two of three are whole
    assert not (entry(tmp_path) / META).exists()
    encoder = Counting()
    resumed = features(tmp_path, encoder)
    assert encoder.seen == 11 - 6
    assert torch.equal(resumed.x, features(tmp_path / "whole").x)


def test_a_damaged_shard_is_computed_again(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        features(tmp_path, Counting(8))
    shard = min(entry(tmp_path).glob("parts-3/*.npy"))
    shard.write_bytes(shard.read_bytes()[:-4])
    encoder = Counting()
    assert torch.equal(features(tmp_path, encoder).x, features(tmp_path / "whole").x)
    assert encoder.seen == 11 - 3


@pytest.mark.parametrize("file", [ARRAY, META])
def test_a_damaged_entry_is_computed_again_with_a_word(file: str, tmp_path: Path) -> None:
    whole = features(tmp_path).x.clone()
    damaged = entry(tmp_path) / file
    damaged.write_bytes(damaged.read_bytes()[:-9])
    encoder = Counting()
    with pytest.warns(UserWarning, match=f"{file} is damaged: the features are computed anew"):
        again = features(tmp_path, encoder)
    assert encoder.seen == 11
    assert torch.equal(again.x, whole)


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    features(tmp_path)
    meta = entry(tmp_path) / META
    record = json.loads(meta.read_text())
    meta.write_text(json.dumps({**record, "key": {**record["key"], "weights": "others"}}))
    with pytest.raises(UserError, match="holds the features of something else"):
        features(tmp_path)
    meta.unlink()
    (meta.parent / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds something else, such as thesis\.txt"):
        features(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [{"weights": "v"}, {"encoder": {"depth": 2}}, {"view": {"size": 9}}, {"data": "d"}, {"precision": "bf16-mixed"}],
)
def test_everything_that_matters_is_in_the_key(changed: dict[str, Any], tmp_path: Path) -> None:
    folder = Store(tmp_path).entry(IDENTITY, LAST)[0]
    assert Store(tmp_path).entry(IDENTITY._replace(**changed), LAST)[0] != folder
    assert Store(tmp_path).entry(IDENTITY, TOKENS)[0] != folder
    assert Store(tmp_path).entry(IDENTITY, Features(None))[0] != folder
    assert Store(tmp_path, "float16").entry(IDENTITY, LAST)[0] != folder
    assert Store(tmp_path, shard=7).entry(IDENTITY, LAST)[0] == folder


def test_what_cannot_be_read_is_left_out_and_listed(tmp_path: Path) -> None:
    data = Torn(11, 0)
    found = features(tmp_path, data=data)
    assert found.indices == [1, 2, 6, 7, 8, 9, 10]
    assert found.unreadable == [data.name(index) for index in (0, 3, 4, 5)]
    assert found.labels(data, "level").tolist() == data.factors["level"].index[found.indices].tolist()
    with pytest.raises(UserError, match="none of 3 observations can be read"):
        features(tmp_path / "none", data=_first_three_torn())


def _first_three_torn() -> Greys:
    class All(Greys):
        def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
            raise Unreadable("torn")

    return All(3, 0)


def test_weights_hash() -> None:
    torch.manual_seed(0)
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert weights_hash(one) != weights_hash(other)
    other.load_state_dict(one.state_dict())
    assert weights_hash(one) == weights_hash(other)
