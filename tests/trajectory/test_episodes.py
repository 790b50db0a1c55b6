"""Episodes in memory and on disk, windows of them, and recording that goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from modalities.trajectory.data import EpisodeFolder, Rooms
from modalities.trajectory.embedded import Walks
from modalities.trajectory.episodes import InMemory, OnDisk
from modalities.trajectory.rooms import RoomsEnv
from modalities.trajectory.windows import Windows
from worldjepa.errors import Unreadable, UserError
from worldjepa.nn.actions import ActionSpec
from worldjepa.world.behaviour import Wander
from worldjepa.world.episodes import Episode, write_npz
from worldjepa.world.gymnasium import GymEnvironment
from worldjepa.world.record import collect, place, record, seeds_of


def counted(frames: int, first: int = 0, body: bool = True) -> Episode:
    """Frame t shows the number first + t, action t says 1000 + first + t."""
    numbers = np.arange(first, first + frames, dtype=np.float32)
    return Episode(
        numbers[:, None] * np.ones((1, 3), np.float32),
        1000 + numbers[:-1, None] * np.ones((1, 2), np.float32),
        -numbers[:, None] if body else None,
    )


def files(root: Path, form: str) -> Path:
    """Three episodes of 9, 4 and 7 frames on disk."""
    parts = [counted(9), counted(4, 100), counted(7, 200)]
    if form == "npz":
        for number, episode in enumerate(parts):
            write_npz(root / f"{number}.npz", episode)
    else:
        with h5py.File(root / "all.h5", "w") as file:
            for number, episode in enumerate(parts):
                group = file.create_group(f"e{number}")
                for name in ("observations", "actions", "proprioception"):
                    group[name] = getattr(episode, name)
    return root


def test_windows_hold_frames_in_a_row_and_the_actions_between_them() -> None:
    windows = Windows(InMemory([counted(9), counted(4, 100), counted(7, 200)]), history=2, horizon=1, skip=2)
    assert windows.shape == (3, 3)
    assert len(windows) == 5 + 0 + 3
    seen = [windows.observe(i) for i in range(len(windows))]
    assert [int(one.obs[0, 0]) for one in seen] == [0, 1, 2, 3, 4, 200, 201, 202]
    assert seen[5].obs[:, 0].tolist() == [200, 202, 204]
    assert seen[5].cond.x.tolist() == [[1200, 1200, 1201, 1201], [1202, 1202, 1203, 1203]]
    assert seen[5].cond.pos.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert windows.name(6) == "episode 2 from frame 1"
    body = Windows(windows.episodes, 2, 1, 2, "proprioception")
    assert body.shape == (3, 1)
    assert body.observe(0).obs[:, 0].tolist() == [0, -2, -4]
    assert body.fingerprint() != windows.fingerprint()


@pytest.mark.parametrize("form", ["npz", "h5"])
def test_files_give_the_windows_that_memory_gives(form: str, tmp_path: Path) -> None:
    here = Windows(InMemory([counted(9), counted(4, 100), counted(7, 200)]), 2, 2)
    there = EpisodeFolder(str(files(tmp_path, form)), history=2, horizon=2).train()
    assert len(here) == len(there) == 6 + 1 + 4
    for index in range(len(here)):
        ours, theirs = here.observe(index), there.observe(index)
        assert torch.equal(ours.obs, theirs.obs)
        assert torch.equal(ours.cond.x, theirs.cond.x)


@pytest.mark.parametrize("form", ["npz", "h5"])
def test_damaged_files_are_unreadable_and_named(form: str, tmp_path: Path) -> None:
    files(tmp_path, form)
    good = len(EpisodeFolder(str(tmp_path), 2, 2).train())
    for name, content in (("broken", b"nonsense"), ("cut", next(tmp_path.iterdir()).read_bytes()[:700])):
        (tmp_path / f"zz_{name}.{form}").write_bytes(content)
    windows = EpisodeFolder(str(tmp_path), 2, 2).train()
    assert len(windows) == good + 2
    for index, name in ((good, "zz_broken"), (good + 1, "zz_cut")):
        with pytest.raises(Unreadable, match=name):
            windows.observe(index)
        assert name in windows.name(index)


def test_episodes_that_do_not_fit_are_unreadable(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", counted(9))
    np.savez(tmp_path / "b.npz", observations=np.zeros((5, 3)), actions=np.zeros((2, 2)))
    np.savez(tmp_path / "c.npz", observations=np.zeros((5, 4)), actions=np.zeros((4, 2)))
    np.savez(
        tmp_path / "d.npz",
        observations=np.full((5, 3), np.nan),
        actions=np.zeros((5, 2)),
        proprioception=np.ones((5, 1)),
    )
    np.savez(tmp_path / "e.npz", observations=np.array([{}] * 5, object), actions=np.zeros((4, 2)))
    windows = EpisodeFolder(str(tmp_path), 2, 2).train()
    for index, why in ((6, "do not fit together"), (7, "the others"), (9, "not finite"), (11, "allow_pickle=False")):
        with pytest.raises(Unreadable, match=why):
            windows.observe(index)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: EpisodeFolder(str(root)), "no episodes|none"),
        (lambda root: EpisodeFolder(str(files(root, "npz")), 20, 20), "no episode has the 40 frames"),
        (lambda root: EpisodeFolder(str(files(root, "npz")), 2, 2, observe="obs"), "observe 'obs' is not known"),
        (lambda root: Windows(InMemory([counted(9, body=False)]), 2, 2, observe="proprioception"), "hold none"),
        (lambda root: InMemory([]), "no episodes"),
        (lambda root: InMemory([counted(9), counted(9, body=False)]), "episode 1 has the shapes"),
        (lambda root: Windows(InMemory([counted(9)]), 0, 2), "at least 1: history=0"),
    ],
)
def test_wrong_settings_are_named(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        make(tmp_path)


@pytest.mark.parametrize("view", ["pixels", "state"])
def test_walks_are_what_would_be_recorded(view: str) -> None:
    env = RoomsEnv("random_doors", view, size=16, dots=2)
    which = seeds_of(3, range(4))
    walks, episodes = Walks(env, Wander(), which, 12), record(env, Wander(), which, 12)
    for number, episode in enumerate(episodes):
        part = walks.read(number, 2, 11, 2)
        assert np.allclose(
            part.observations, episode.observations[2:11:2], atol=1
        )  # positions are kept in single precision
        assert np.allclose(part.actions, episode.actions[2:10])
        assert episode.proprioception is not None
        assert np.allclose(part.proprioception, episode.proprioception[2:11:2], atol=1e-6)


def test_the_probe_places_are_labelled_by_where_they_are() -> None:
    splits = Rooms("smaze", episodes=2, steps=20, horizon=4).probe()
    for split in splits:
        cells = np.stack([split.factors["column"].index, split.factors["row"].index], -1)
        assert np.array_equal(cells, np.minimum((split.state * 6).astype(int), 5))  # type: ignore[attr-defined]
    seen = splits.test.observe(3)
    assert seen.shape == (5, 2, 32, 32)
    assert torch.equal(seen[0], seen[4])


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_recording_that_was_stopped_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    env, told = RoomsEnv("smaze", size=16, dots=1), []

    def run(out: Path, episodes: int) -> int:
        return collect(env, Wander(), out, episodes, 8, seed=1, settings={"layout": "smaze"}, tell=told.append)

    assert run(tmp_path / "once", 40) == 40
    assert run(tmp_path / "twice", 7) == 7
    place(tmp_path / "twice", 3).unlink()
    assert run(tmp_path / "twice", 40) == 34
    assert content(tmp_path / "once") == content(tmp_path / "twice")
    assert told == [32, 40, 7, 32, 40]
    assert run(tmp_path / "once", 40) == 0
    assert OnDisk(str(tmp_path / "once")).frames.tolist() == [9] * 40
    assert not np.array_equal(*(np.load(place(tmp_path / "once", i))["actions"] for i in (0, 1)))


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    env = RoomsEnv("empty", "state")
    collect(env, Wander(), tmp_path / "a", 1, 4, 0, {"layout": "empty"})
    for settings, steps, message in (
        ({"layout": "smaze"}, 4, "layout=empty, not smaze"),
        ({"layout": "empty"}, 5, "steps=4"),
    ):
        with pytest.raises(UserError, match=message):
            collect(env, Wander(), tmp_path / "a", 1, steps, 0, settings)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="holds something else"):
        collect(env, Wander(), tmp_path / "b", 1, 4, 0, {})
    assert json.loads((tmp_path / "a" / "collect.json").read_text()) == {"layout": "empty", "steps": 4, "seed": 0}


def test_gymnasium_is_recorded_until_it_ends() -> None:
    env = GymEnvironment("MountainCarContinuous-v0")
    first = record(env, Wander(), seeds_of(0, range(2)), 30)
    again = record(GymEnvironment("MountainCarContinuous-v0"), Wander(), seeds_of(0, range(2)), 30)
    assert [episode.observations.shape for episode in first] == [(31, 2), (31, 2)]
    assert all(np.array_equal(one.observations, two.observations) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0].observations, first[1].observations)
    with pytest.raises(UserError, match="cannot make 'Pendulumm"):
        GymEnvironment("Pendulumm-v9")
    with pytest.raises(UserError, match="the actions of CartPole-v1 are a Discrete"):
        GymEnvironment("CartPole-v1")


def test_actions_are_described_by_the_data_unless_they_are_given() -> None:
    spec = ActionSpec(2, repeat=3)
    acting = torch.randn(50, 4, 6) * torch.tensor([1.0, 5.0]).repeat(3) + 2
    spec.fit(acting)
    each = spec(acting).reshape(-1, 2)
    assert torch.allclose(each.mean(0), torch.zeros(2), atol=1e-5)
    assert torch.allclose(each.std(0, correction=0), torch.ones(2), atol=1e-5)
    assert torch.equal(spec.high, acting.reshape(-1, 2).amax(0))
    given = ActionSpec(1, low=[-2], high=[2])
    given.fit(torch.zeros(5, 1))
    assert (given.low, given.high, given.std) == (torch.tensor([-2.0]), torch.tensor([2.0]), torch.tensor([1.0]))
    copy = ActionSpec(2, repeat=3)
    copy.load_state_dict(spec.state_dict())
    assert torch.equal(copy(acting), spec(acting))
    with pytest.raises(UserError, match="have 4 numbers a step, but the model expects 6 = 2 x 3"):
        spec.fit(torch.zeros(5, 4))
    with pytest.raises(UserError, match="low must lie below high"):
        ActionSpec(2, low=[0, 0], high=[1, 0])
