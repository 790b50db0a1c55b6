"""Checkpoints: bitwise round trips, damage of every kind, and no pickle."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from worldjepa.errors import Unsaved, UserError
from worldjepa.train import checkpoint
from worldjepa.train.checkpoint import MANIFEST, damage, locate, name_of, newest, prune, save, steps_in
from worldjepa.train.optim import build_optimizer
from worldjepa.train.settings import OptimSettings

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "config.yaml")


class Toy(nn.Module):
    """Two parts, a buffer, and a parameter whose memory is not in order."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, width), nn.LayerNorm(width))
        self.predictor = nn.Linear(width, 4)
        self.table = nn.Parameter(torch.randn(3, 4).T)
        self.register_buffer("centre", torch.randn(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = (self.predictor(self.encoder(x)) + self.centre) @ self.table
        return out


def make(seed: int = 0, width: int = 6) -> tuple[Toy, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = Toy(width)
    return model, build_optimizer(model, OptimSettings())


def train(model: Toy, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        model.get_buffer("centre").add_(0.1)


def write(folder: Path, step: int, model: Toy, optimizer: torch.optim.Optimizer) -> Path:
    return save(folder, step, model, optimizer, {"loss": 0.5, "note": "ä"}, "seed: 0\n")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, optimizer = make()
    train(model, optimizer, range(3))
    return write(tmp_path / "checkpoints", 3, model, optimizer)


def same(one: tuple[Toy, torch.optim.Optimizer], other: tuple[Toy, torch.optim.Optimizer]) -> bool:
    states = [{**model.state_dict(), **checkpoint.optimizer_tensors(optimizer)} for model, optimizer in (one, other)]
    return states[0].keys() == states[1].keys() and all(map(torch.equal, states[0].values(), states[1].values()))


def test_going_on_equals_never_having_stopped(saved: Path) -> None:
    straight = make()
    train(*straight, range(3))
    resumed = make(seed=1)
    assert not same(straight, resumed)
    checkpoint.load_model(saved, resumed[0])
    checkpoint.load_optimizer(saved, resumed[1])
    assert same(straight, resumed)
    train(*straight, range(3, 6))
    train(*resumed, range(3, 6))
    assert same(straight, resumed)


def test_what_is_in_it(saved: Path) -> None:
    assert saved.name == "step-00000003" == name_of(3)
    assert sorted(path.name for path in saved.iterdir()) == sorted([*FILES, MANIFEST])
    assert checkpoint.read_state(saved) == {"step": 3, "loss": 0.5, "note": "ä"}
    assert (saved / "config.yaml").read_text() == "seed: 0\n"
    assert damage(saved) is None
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_writing_again_replaces(saved: Path) -> None:
    other = make(seed=7)
    write(saved.parent, 3, *other)
    back = make(seed=8)
    checkpoint.load_model(saved, back[0])
    assert all(map(torch.equal, other[0].state_dict().values(), back[0].state_dict().values()))


# --- damage ----------------------------------------------------------------------------------------------------------


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def link(path: Path) -> None:
    copy = path.parent.parent / f"elsewhere-{path.name}"
    path.rename(copy)
    path.symlink_to(copy)


HARM: dict[str, tuple[Callable[[Path], None], str]] = {
    "bit": (flip_bit, "checksum"),
    "short": (truncate, "size"),
    "long": (lengthen, "size"),
    "missing": (Path.unlink, "missing"),
    "link": (link, "missing"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", HARM)
def test_damage_is_seen_and_named(saved: Path, kind: str, name: str) -> None:
    harm, word = HARM[kind]
    harm(saved / name)
    told = damage(saved)
    assert told is not None
    assert name in told
    assert word in told


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"model.safetensors": {"size": 1}}', json.dumps(dict.fromkeys(FILES, 1))]
)
def test_a_damaged_manifest(saved: Path, text: str) -> None:
    (saved / MANIFEST).write_text(text)
    assert damage(saved) is not None
    (saved / MANIFEST).unlink()
    assert "cannot be read" in str(damage(saved))


def test_newest_falls_back(saved: Path) -> None:
    folder, model = saved.parent, make()
    train(*model, range(1))
    later = [write(folder, step, *model) for step in (5, 12, 100)]
    assert steps_in(folder) == [saved, *later]
    assert newest(folder) == (later[2], [])
    flip_bit(later[2] / "model.safetensors")
    (later[1] / MANIFEST).unlink()
    found, notes = newest(folder)
    assert found == later[0]
    assert [later[2].name in notes[0], later[1].name in notes[1]] == [True, True]
    for path in (saved, later[0]):
        truncate(path / "state.json")
    assert newest(folder)[0] is None
    assert len(newest(folder)[1]) == 4


def test_locate(saved: Path, tmp_path: Path) -> None:
    assert locate(saved) == locate(saved.parent) == locate(tmp_path) == saved
    with pytest.raises(UserError, match="no checkpoint in"):
        locate(tmp_path / "nowhere")
    truncate(saved / "config.yaml")
    for path in (saved, saved.parent, tmp_path):
        with pytest.raises(UserError, match=r"damaged.*config\.yaml"):
            locate(path)


def test_prune(saved: Path) -> None:
    folder, model = saved.parent, make()
    train(*model, range(1))
    for step in (5, 12, 100):
        write(folder, step, *model)
    (folder / ".step-00000200.4711").mkdir()
    (folder / ".step-00000200.4711" / "model.safetensors").write_bytes(b"half")
    prune(folder, 2)
    assert sorted(path.name for path in folder.iterdir()) == [name_of(12), name_of(100)]
    prune(folder, 5)
    assert len(steps_in(folder)) == 2


def test_an_interrupted_write_leaves_the_last_one(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Unsaved, match=r"step-00000009 of [\d,]+ bytes could not be written: No space left"):
        write(saved.parent, 9, *make())
    assert newest(saved.parent) == (saved, [])
    assert steps_in(saved.parent) == [saved]


# --- what does not fit -----------------------------------------------------------------------------------------------


def test_other_shapes_are_named(saved: Path) -> None:
    model, optimizer = make(width=8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        checkpoint.load_model(saved, model)
    told = str(caught.value)
    assert "5 of another shape" in told
    assert "encoder.0.weight (saved [6, 4], here [8, 4])" in told
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), (
        "nothing may be half loaded"
    )
    with pytest.raises(UserError, match=r"encoder\.0\.weight/exp_avg \(saved \[6, 4\], here \[8, 4\]\)"):
        checkpoint.load_optimizer(saved, optimizer)


def test_missing_and_left_over_tensors_are_named(saved: Path) -> None:
    model, _ = make()
    model.extra = nn.Parameter(torch.zeros(1))
    del model.predictor
    with pytest.raises(UserError, match=r"1 missing: extra; 2 left over: predictor\.bias, predictor\.weight"):
        checkpoint.load_model(saved, model)


def test_nothing_is_unpickled(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    for owner, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(owner, name, refuse)
    model, optimizer = make()
    assert locate(saved.parent.parent) == saved
    checkpoint.load_model(saved, model)
    checkpoint.load_optimizer(saved, optimizer)
    checkpoint.read_state(saved)
    for file in saved.iterdir():
        head = file.read_bytes()[:9]
        assert not head.startswith((b"\x80", b"PK\x03\x04")), "the first bytes of a pickle, or of PyTorch's archives"
        assert file.suffix != ".safetensors" or head[8:9] == b"{"
