"""LeRobotDataset v3: a folder of parquet and mp4 files, each of which holds many episodes one after another.

`meta/info.json` says what a frame consists of and how files are called, `meta/episodes` where each episode lies, `data` holds
states and actions, `videos` the pictures. Needs `pip install worldjepa[parquet]`, and lerobot itself is not needed.

Source: the layout as described and written by huggingface/lerobot, codebase version v3.0.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray
from PIL import Image

from modalities.trajectory import rows
from modalities.trajectory.episodes import Episodes
from modalities.trajectory.film import frames_at
from modalities.trajectory.sizes import Cut, Sizes
from worldjepa.errors import Unreadable, UserError, unknown

INFO = Path("meta", "info.json")
VERSION = "v3."
"""How the versions begin whose layout is this one."""
STATE, ACTION, TIME = "observation.state", "action", "timestamp"
"""Columns of `data`."""
MOST = 1 << 24
"""Bytes of the description that are read at most."""
_PLACEHOLDER = re.compile(r"\{(\w+)(?::0(\d)d)?\}")


class Info(NamedTuple):
    """What `meta/info.json` says."""

    fps: float
    features: dict[str, dict[str, Any]]
    """What a frame consists of: `dtype` and `shape` of each feature by its name."""
    data_path: str
    video_path: str

    @property
    def cameras(self) -> list[str]:
        """The features that are pictures of colours."""
        return [
            name for name, one in self.features.items() if one.get("dtype") in ("video", "image") and not _deep(one)
        ]


def is_lerobot(root: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a LeRobotDataset of any version."""
    return Path(root, INFO).is_file()


class LeRobot(Episodes):
    """The episodes of a LeRobotDataset. Observations are the pictures of one camera, the state is the proprioception.

    Only the frames that are asked for are decoded. Where there is no camera, observations are the states.

    Args:
        root: the folder.
        camera: whose pictures to take: the name of a feature, or what follows its last dot. Needed where there are several.
        size: bring the pictures to `size` x `size`; otherwise they stay as they are.
        look: take pictures at all; otherwise observations are the states.

    Raises:
        UserError: the folder's description is damaged or of another version, there is no such camera, or no action.
    """

    def __init__(self, root: str, camera: str | None = None, size: int | None = None, look: bool = True) -> None:
        if size is not None and size < 1:
            raise UserError(f"size must be at least 1 pixel, not {size}")
        self.root, self.size = Path(root), size
        self.info = read_info(self.root)
        self.camera = _chosen(self.info.cameras, camera) if look else None
        self.filmed = self.camera is not None and self.info.features[self.camera].get("dtype") == "video"
        self._find_episodes()
        self.common = self._sizes()

    def _find_episodes(self) -> None:
        video = [f"videos/{self.camera}/{what}" for what in ("chunk_index", "file_index", "from_timestamp")]
        names = [rows.EPISODE, "length", "data/chunk_index", "data/file_index", *(video if self.filmed else [])]
        files = sorted(self.root.glob("meta/episodes/*/*.parquet"))
        if not files:
            raise UserError(f"{self.root}: meta/episodes holds no parquet files")
        parts = [rows.numbers(file, names) for file in files]
        found = {name: np.concatenate([part[name][:, 0] for part in parts]) for name in names}
        if not all(np.isfinite(column).all() and (column >= 0).all() for column in found.values()):
            raise UserError(f"{self.root}: meta/episodes holds numbers that are negative or not finite")
        whole = {name: column.astype(np.int64) for name, column in found.items()}
        self.numbers, self.frames = whole[rows.EPISODE], whole["length"]
        self.data = np.stack([whole["data/chunk_index"], whole["data/file_index"]], 1)
        if self.filmed:
            self.videos = np.stack([whole[video[0]], whole[video[1]]], 1)
            self.begins = found[video[2]]

    def _sizes(self) -> Sizes:
        features = self.info.features
        if ACTION not in features:
            raise UserError(f"{self.root}: has no feature '{ACTION}'; its features: {', '.join(features) or 'none'}")
        state = int(np.prod(features[STATE]["shape"])) if STATE in features else None
        if self.camera is None and state is None:
            raise UserError(f"{self.root}: has neither a camera nor '{STATE}'; its features: {', '.join(features)}")
        frame: tuple[int, ...] = (state or 0,)
        if self.camera is not None:
            frame = (3, self.size, self.size) if self.size else _picture(self.camera, features[self.camera]["shape"])
        return Sizes(int(self.frames.max()), frame, int(np.prod(features[ACTION]["shape"])), state)

    def read(self, episode: int, start: int, stop: int, skip: int) -> Cut:
        """A stretch of an episode; no other frames are decoded.

        Raises:
            Unreadable: one of its files is damaged, gone, or holds something else than the description says.
        """
        path, frames = self._data_file(episode), range(start, stop, skip)
        names = [ACTION, TIME, *([] if self.common.proprioception is None else [STATE])]
        found = rows.numbers(path, names, int(self.numbers[episode]))
        if len(found[TIME]) != self.frames[episode] or stop > len(found[TIME]):
            raise Unreadable(
                f"{path}: episode {self.numbers[episode]} has {len(found[TIME])} rows, not {self.frames[episode]}"
            )
        body = found[STATE][frames].astype(np.float32) if STATE in found else None
        seen = body if self.camera is None else self._pictures(episode, found[TIME][frames, 0], frames)
        assert seen is not None
        cut = Cut(seen, found[ACTION][start : frames[-1]].astype(np.float32), body)
        shapes = (cut.observations.shape[1:], found[ACTION].shape[1], None if body is None else body.shape[1])
        if shapes != self.common.shapes:
            raise Unreadable(f"{path}: has the shapes {shapes}, its description says {self.common.shapes}")
        return cut

    def _pictures(self, episode: int, times: Float64[ndarray, " T"], frames: range) -> UInt8[ndarray, "T 3 H W"]:
        assert self.camera is not None
        if self.filmed:
            return frames_at(self._video_file(episode), self.begins[episode] + times, 1 / self.info.fps, self.size)
        path = self._data_file(episode)
        held = rows.encoded_pictures(path, self.camera, int(self.numbers[episode]))
        return np.stack([_decoded(path, held[frame], self.size) for frame in frames])

    def _data_file(self, episode: int) -> Path:
        chunk, file = self.data[episode]
        return self.root / placed(self.info.data_path, "", int(chunk), int(file))

    def _video_file(self, episode: int) -> Path:
        chunk, file = self.videos[episode]
        return self.root / placed(self.info.video_path, self.camera or "", int(chunk), int(file))

    def sizes(self) -> Sizes:
        """What the description says."""
        return self.common

    def name(self, episode: int) -> str:
        """Its folder and its number."""
        return f"{self.root}: episode {self.numbers[episode]}"

    def fingerprint(self) -> str:
        """SHA-256 over the description, where every episode lies, and the names and sizes of all files."""
        digest = hashlib.sha256(f"{self.info} {self.camera} {self.size}".encode())
        digest.update(self.numbers.tobytes() + self.frames.tobytes() + self.data.tobytes())
        files = {self._data_file(episode) for episode in range(len(self.frames))}
        if self.filmed:
            digest.update(self.videos.tobytes() + self.begins.tobytes())
            files |= {self._video_file(episode) for episode in range(len(self.frames))}
        for file in sorted(files):
            try:
                length = os.stat(file).st_size
            except OSError:  # gone meanwhile: reading it will tell
                length = -1
            digest.update(f"{file.relative_to(self.root)}\0{length}\n".encode())
        return digest.hexdigest()


def read_info(root: Path) -> Info:
    """Read the description of a folder.

    Raises:
        UserError: it is damaged, lacks something, or its version is another one.
    """
    path = root / INFO
    try:
        if path.stat().st_size > MOST:
            raise UserError(f"{path} has more than {MOST:,} bytes")
        said = json.loads(path.read_text(encoding="utf-8"))
        version = str(said["codebase_version"])
        if not version.startswith(VERSION):
            raise UserError(
                f"{path}: codebase_version is {version}; v3.0 is read here, and lerobot brings older folders to it"
            )
        features = {str(name): dict(one) for name, one in said["features"].items()}
        for one in features.values():
            one["shape"] = tuple(int(length) for length in one["shape"])
        info = Info(float(said["fps"]), features, str(said["data_path"]), str(said.get("video_path") or ""))
    except UserError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    if not 0 < info.fps < float("inf"):
        raise UserError(f"{path}: fps must be a positive number, not {info.fps}")
    for template in (info.data_path, info.video_path):
        placed(template, "", 0, 0)
    return info


def placed(template: str, camera: str, chunk: int, file: int) -> str:
    """The name of a file below the folder, such as `data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet`.

    Raises:
        UserError: the template has other placeholders or leads out of the folder.
    """
    values: dict[str, str | int] = {"video_key": camera, "chunk_index": chunk, "file_index": file}

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise unknown(f"placeholder in '{template}'", match[1], values)
        return str(values[match[1]]).zfill(int(match[2] or 0))

    # Not str.format, which would do whatever a stranger's template asks for.
    name = _PLACEHOLDER.sub(value, template)
    if "{" in name or os.path.isabs(name) or ".." in Path(name).parts:
        raise UserError(f"'{template}' is no name of a file below the folder")
    return name


def _chosen(cameras: list[str], camera: str | None) -> str | None:
    if camera is None:
        if len(cameras) > 1:
            raise UserError(f"there are {len(cameras)} cameras: choose one with data.camera=; {', '.join(cameras)}")
        return cameras[0] if cameras else None
    short = [name for name in cameras if name == camera] or [
        name for name in cameras if name.rpartition(".")[2] == camera
    ]
    if len(short) != 1:
        raise unknown("camera", camera, cameras)
    return short[0]


def _deep(feature: dict[str, Any]) -> bool:
    """Whether pictures hold distances in place of colours."""
    notes = {**(feature.get("video_info") or {}), **(feature.get("info") or {})}
    return bool(notes.get("is_depth_map") or notes.get("video.is_depth_map"))


def _picture(camera: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Channels first, whichever way round the description has it: what it calls the axes is not to be trusted."""
    if len(shape) == 3 and shape[-1] == 3:
        return (3, *shape[:2])
    if len(shape) == 3 and shape[0] == 3:
        return shape
    raise UserError(f"pictures of '{camera}' have the shape {shape}, not three channels; set data.size=")


def _decoded(path: Path, held: bytes, size: int | None) -> UInt8[ndarray, "3 H W"]:
    try:
        with Image.open(io.BytesIO(held)) as image:
            colours = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Unreadable(f"{path}: a picture is damaged ({type(error).__name__}: {error})") from error
    fitting = colours if size is None else colours.resize((size, size), Image.Resampling.BOX)
    return np.asarray(fitting, np.uint8).transpose(2, 0, 1)
