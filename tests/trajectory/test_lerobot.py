"""Folders in the layout of LeRobotDataset v3, written here as its own tools write them: episodes share their files."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from modalities.trajectory.data import EpisodeFolder
from modalities.trajectory.lerobot import LeRobot, placed
from worldjepa.cli import main
from worldjepa.errors import Unreadable, UserError

FPS = 10
LENGTHS = (9, 6, 7)
"""The first two episodes share their files, the third has its own."""
SIDE = 32
LOSS = 10
"""How far a grey frame may be off after coding."""
TOP, WRIST = "observation.images.top", "observation.images.wrist"
PATHS = {
    "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}


def shade(episode: int, frame: int, camera: int = 0) -> int:
    return 20 + 70 * episode + 7 * frame + 3 * camera


def picture(episode: int, frame: int, camera: int = 0) -> np.ndarray:
    """Grey of a shade of its own, with a left half that is darker by 12."""
    made = np.full((SIDE, SIDE, 3), shade(episode, frame, camera), np.uint8)
    made[:, : SIDE // 2] -= 12
    return made


def film(path: Path, frames: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "10", "g": "5", "bf": "2"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            shown = av.VideoFrame.from_ndarray(frame, format="rgb24")
            shown.pts, shown.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(shown))
        container.mux(stream.encode())


def png(frame: np.ndarray) -> dict[str, Any]:
    held = io.BytesIO()
    Image.fromarray(frame).save(held, "PNG")
    return {"bytes": held.getvalue(), "path": None}


def rows(episodes: list[int], first: int, stored: bool) -> list[pa.Table]:
    """A table for each episode; the state of frame t is 100 e + t and -t, the action 1000 e + t."""
    tables = []
    for episode in episodes:
        t = np.arange(LENGTHS[episode])
        columns = {
            "action": pa.array([[1000.0 * episode + i] * 3 for i in t], pa.list_(pa.float32(), 3)),
            "observation.state": pa.array([[100.0 * episode + i, -1.0 * i] for i in t], pa.list_(pa.float32())),
            "timestamp": pa.array((t / FPS).astype(np.float32)),
            "frame_index": pa.array(t),
            "episode_index": pa.array(np.full(len(t), episode)),
            "index": pa.array(first + t),
            "task_index": pa.array(np.zeros(len(t), np.int64)),
        }
        if stored:
            columns[TOP] = pa.array([png(picture(episode, int(i))) for i in t])
        tables.append(pa.table(columns))
        first += len(t)
    return tables


def written(root: Path, cameras: tuple[str, ...] = (TOP,), stored: bool = False, **info: Any) -> Path:
    """A whole dataset. With `stored`, the pictures lie in the parquet files and there are no videos."""
    shape: dict[str, Any] = {"shape": [3, SIDE, SIDE], "names": ["channels", "height", "width"]}
    features: dict[str, Any] = {
        "action": {"dtype": "float32", "shape": [3], "names": None},
        "observation.state": {"dtype": "float32", "shape": [2], "names": None},
        **{camera: {"dtype": "image" if stored else "video", **shape} for camera in cameras},
        **{name: {"dtype": "int64", "shape": [1]} for name in ("frame_index", "episode_index", "index", "task_index")},
    }
    said = {"codebase_version": "v3.0", "robot_type": None, "fps": FPS, "features": features, "chunks_size": 1000}
    said |= {"total_episodes": 3, "total_frames": sum(LENGTHS), **PATHS, **info}
    (root / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    (root / "meta" / "info.json").write_text(json.dumps(said))
    for file, episodes in enumerate(([0, 1], [2])):
        data = root / PATHS["data_path"].format(chunk_index=0, file_index=file)
        data.parent.mkdir(parents=True, exist_ok=True)
        tables = rows(episodes, sum(LENGTHS[: episodes[0]]), stored)
        with pq.ParquetWriter(data, tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)
        for number, camera in enumerate(() if stored else cameras):
            video = root / PATHS["video_path"].format(video_key=camera, chunk_index=0, file_index=file)
            film(video, [picture(e, i, number) for e in episodes for i in range(LENGTHS[e])])
    table: dict[str, Any] = {
        "episode_index": [0, 1, 2],
        "tasks": [["push"]] * 3,
        "length": list(LENGTHS),
        "data/chunk_index": [0, 0, 0],
        "data/file_index": [0, 0, 1],
        "dataset_from_index": [0, 9, 15],
        "dataset_to_index": [9, 15, 22],
    }
    for camera in () if stored else cameras:
        table |= {f"videos/{camera}/chunk_index": [0, 0, 0], f"videos/{camera}/file_index": [0, 0, 1]}
        begins = [0.0, LENGTHS[0] / FPS, 0.0]
        table[f"videos/{camera}/from_timestamp"] = begins
        table[f"videos/{camera}/to_timestamp"] = [b + n / FPS for b, n in zip(begins, LENGTHS, strict=True)]
    pq.write_table(pa.table(table), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("lerobot") / "set", (TOP, WRIST))


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def off(seen: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(seen.astype(int) - expected.transpose(2, 0, 1).astype(int)).max())


@pytest.mark.parametrize("stored", [False, True], ids=["mp4", "parquet"])
@pytest.mark.parametrize("episode", range(3))
def test_frames_states_and_actions_are_those_of_their_episode(stored: bool, episode: int, tmp_path: Path) -> None:
    data = LeRobot(str(written(tmp_path / "set", stored=stored)))
    assert data.frames.tolist() == list(LENGTHS)
    assert data.sizes()[1:] == ((3, SIDE, SIDE), 3, 2)
    length = LENGTHS[episode]
    for start, stop, skip in ((0, length, 1), (1, length, 2), (length - 2, length, 1), (2, 5, 1)):
        part = data.read(episode, start, stop, skip)
        shown = range(start, stop, skip)
        assert part.observations.shape == (len(shown), 3, SIDE, SIDE)
        assert part.observations.dtype == np.uint8
        for seen, frame in zip(part.observations, shown, strict=True):
            assert off(seen, picture(episode, frame)) <= (0 if stored else LOSS)
            assert abs(float(seen.mean()) - (shade(episode, frame) - 6)) < 3  # neighbours are 7 apart
        assert part.proprioception is not None
        assert part.proprioception.tolist() == [[100 * episode + i, -i] for i in shown]
        assert part.actions.tolist() == [[1000 * episode + i] * 3 for i in range(start, shown[-1])]


def test_the_folder_is_recognised_and_windows_are_cut_from_it(whole: Path) -> None:
    source = EpisodeFolder(str(whole), history=2, horizon=2, skip=2, camera="wrist", size=8)
    windows = source.train()
    assert windows.shape == (4, 3, 8, 8)
    assert source.channels == 3
    assert len(windows) == 3 + 0 + 1  # an episode of 6 has no 7 frames
    seen = pickle.loads(pickle.dumps(windows)).observe(3)  # noqa: S301 - as data workers do
    assert seen.obs.dtype == torch.uint8
    for t in range(4):
        assert abs(float(seen.obs[t].float().mean()) - (shade(2, 2 * t, 1) - 6)) < 3
        left, right = seen.obs[t, :, :, :3].float().mean(), seen.obs[t, :, :, 5:].float().mean()
        assert abs(float(right - left) - 12) < 4
    assert seen.cond.x.tolist() == [[2000.0 + 2 * t] * 3 + [2001.0 + 2 * t] * 3 for t in range(3)]
    assert windows.name(3) == f"{whole}: episode 2 from frame 0"
    states = EpisodeFolder(str(whole), 1, 2, observe="proprioception").train()  # needs no camera
    assert states.shape == (3, 2)
    assert states.observe(0).obs.tolist() == [[0, 0], [1, -1], [2, -2]]


def test_a_model_trains_on_it(whole: Path, tmp_path: Path) -> None:
    words = ["modality=trajectory", f"data.root={whole}", "data.camera=top", "data.size=16", "data.horizon=3"]
    words += ["arch.size=16", "arch.channels=3", "modality.action_dim=3", "arch.dim=8", "arch.predictor.dim=24"]
    words += ["preset=quickstart_rooms", "run.batch_size=4", "run.workers=0", "run.threads=1", "run.accelerator=cpu"]
    words += ["run.tensorboard=false", "probe.enabled=false", "run.steps=2", f"run.out={tmp_path / 'run'}"]
    assert main(["train", *words]) == 0
    rows = [json.loads(row) for row in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row["train/loss"]) for row in rows if "train/loss" in row)


def test_states_are_what_is_seen_where_there_is_no_camera(tmp_path: Path) -> None:
    windows = EpisodeFolder(str(written(tmp_path / "set", ())), 1, 2).train()
    assert windows.shape == (3, 2)
    assert windows.observe(7).obs.tolist() == [[100, 0], [101, -1], [102, -2]]


def test_the_fingerprint_tells_folders_cameras_and_sizes_apart(copy: Path) -> None:
    def told(camera: str = TOP, size: int | None = None) -> str:
        return LeRobot(str(copy), camera, size).fingerprint()

    first = told()
    assert first == told()
    assert len({first, told(WRIST), told(size=8)}) == 3
    video = copy / "videos" / TOP / "chunk-000" / "file-001.mp4"
    video.write_bytes(video.read_bytes() + b"\0")
    assert told() != first
    video.unlink()
    assert told() != first


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
            r"file-000.*(InvalidData|Arrow)",
        ),
        (lambda path: path.write_bytes(b"nonsense" * 100), "file-000.*(InvalidData|Arrow)"),
        (lambda path: path.write_bytes(b""), "file-000"),
        (Path.unlink, "file-000.*(no such file|FileNotFound)"),
    ],
    ids=["cut", "nonsense", "empty", "gone"],
)
@pytest.mark.parametrize("file", ["data/chunk-000/file-000.parquet", f"videos/{TOP}/chunk-000/file-000.mp4"])
def test_damaged_files_are_unreadable_and_named(spoil: Any, message: str, file: str, copy: Path) -> None:
    spoil(copy / file)
    windows = EpisodeFolder(str(copy), 2, 2, camera="top").train()
    for index in (0, 6):  # both episodes of the file
        with pytest.raises(Unreadable, match=message):
            windows.observe(index)
    assert abs(float(windows.observe(9).obs[0].float().mean()) - (shade(2, 0) - 6)) < 3


def test_a_film_that_is_too_short_and_rows_that_are_missing_are_unreadable(copy: Path) -> None:
    film(copy / "videos" / TOP / "chunk-000" / "file-001.mp4", [picture(2, i) for i in range(4)])
    data = LeRobot(str(copy), "top")
    assert len(data.read(2, 0, 4, 1).observations) == 4
    with pytest.raises(Unreadable, match=r"file-001.mp4: no frame at 0\.4"):
        data.read(2, 1, 6, 1)
    (short,) = rows([2], 15, stored=False)
    pq.write_table(short.slice(0, 5), copy / "data" / "chunk-000" / "file-001.parquet")
    with pytest.raises(Unreadable, match="episode 2 has 5 rows, not 7"):
        data.read(2, 0, 3, 1)
    pq.write_table(short.drop_columns(["action"]), copy / "data" / "chunk-000" / "file-001.parquet")
    with pytest.raises(Unreadable, match="has no column 'action'"):
        data.read(2, 0, 3, 1)
    wide = short.set_column(0, "action", pa.array([[1.0, 2.0]] * 7))
    pq.write_table(wide, copy / "data" / "chunk-000" / "file-001.parquet")
    with pytest.raises(Unreadable, match="has the shapes"):
        data.read(2, 0, 3, 1)
    uneven = short.set_column(0, "action", pa.array([[1.0]] * 6 + [[1.0, 2.0]]))
    pq.write_table(uneven, copy / "data" / "chunk-000" / "file-001.parquet")
    with pytest.raises(Unreadable, match="equally many"):
        data.read(2, 0, 3, 1)


def test_one_table_for_all_episodes_is_read_as_well(copy: Path) -> None:
    """Folders that were converted have row groups that hold several episodes."""
    path = copy / "data" / "chunk-000" / "file-000.parquet"
    before = LeRobot(str(copy), "top").read(1, 0, 6, 1)
    pq.write_table(pa.concat_tables(rows([0, 1], 0, stored=False)), path, row_group_size=4)
    after = LeRobot(str(copy), "top").read(1, 0, 6, 1)
    assert np.array_equal(before.actions, after.actions)
    pq.write_table(pa.concat_tables(rows([0, 1], 0, stored=False)), path, write_statistics=False)
    assert np.array_equal(before.actions, LeRobot(str(copy), "top").read(1, 0, 6, 1).actions)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codebase_version": "v2.1"}, "codebase_version is v2.1; v3.0 is read here"),
        ({"fps": 0}, "fps must be a positive number"),
        ({"fps": "fast"}, "is damaged: ValueError"),
        ({"features": []}, "is damaged: AttributeError"),
        ({"features": {TOP: {"dtype": "video", "shape": [3, 8, 8]}}}, "has no feature 'action'"),
        ({"features": {"action": {"dtype": "float32", "shape": [3]}}}, "neither a camera nor"),
        ({"data_path": "../{file_index}"}, "no name of a file below the folder"),
        (
            {"data_path": "data/{episode_index:06d}"},
            "placeholder in 'data/{episode_index:06d}' 'episode_index' is not known",
        ),
        ({"data_path": "{file_index.__class__}"}, "no name of a file below the folder"),
    ],
)
def test_what_the_description_says_is_checked(settings: dict[str, Any], message: str, copy: Path) -> None:
    file = copy / "meta" / "info.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    with pytest.raises(UserError, match=message):
        EpisodeFolder(str(copy), camera="top" if "features" not in settings else None)


def test_mistakes_are_named(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"there are 2 cameras: choose one with data.camera=; {TOP}, {WRIST}"):
        EpisodeFolder(str(copy))
    with pytest.raises(UserError, match=f"camera 'topp' is not known.*allowed: {TOP}, {WRIST}"):
        EpisodeFolder(str(copy), camera="topp")
    with pytest.raises(UserError, match="size must be at least 1"):
        EpisodeFolder(str(copy), camera="top", size=0)
    (tmp_path / "plain").mkdir()
    with pytest.raises(UserError, match=r"has no meta/info\.json"):
        EpisodeFolder(str(tmp_path / "plain"), camera="top")
    meta = copy / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    meta.write_bytes(meta.read_bytes()[:50])
    with pytest.raises(UserError, match=r"meta/episodes/chunk-000/file-000\.parquet: Arrow"):
        EpisodeFolder(str(copy), camera="top")
    meta.unlink()
    with pytest.raises(UserError, match="meta/episodes holds no parquet files"):
        EpisodeFolder(str(copy), camera="top")
    (copy / "meta" / "info.json").write_text("{")
    with pytest.raises(UserError, match=r"info\.json is damaged: JSONDecodeError"):
        EpisodeFolder(str(copy))


def test_names_are_made_as_their_templates_say() -> None:
    assert placed(PATHS["video_path"], TOP, 3, 12) == f"videos/{TOP}/chunk-003/file-012.mp4"
    assert placed("data/{chunk_index}-{file_index:05d}", "", 1234, 7) == "data/1234-00007"
