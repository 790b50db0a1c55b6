"""Videos, as they are published. Frame `i` is grey, `shade(i)`: so one sees which frames a clip is made of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from modalities.video.encode import write_video


def shade(number: int) -> int:
    return 20 + 8 * number


def frames(count: int) -> np.ndarray:
    return np.broadcast_to(np.array([shade(i) for i in range(count)], np.uint8)[:, None, None], (count, 16, 16))


def video(path: Path, count: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, np.ascontiguousarray(frames(count)), rate=12)


def diving48(root: Path) -> Path:
    for split, count in (("train", 8), ("test", 4)):
        listed = []
        for i in range(count):
            video(root / f"rgb/{split}_{i:05d}.mp4")
            first = 4 if i == 1 else 0
            listed.append(
                {"vid_name": f"{split}_{i:05d}", "label": (9, 10)[i % 2], "start_frame": first, "end_frame": 12}
            )
        (root / f"Diving48_V2_{split}.json").write_text(json.dumps(listed))
    return root


def jester(root: Path) -> Path:
    classes = ["Swiping Left", "Swiping Right", "No gesture"]
    (root / "20bn-jester-v1").mkdir(parents=True)
    (root / "jester-v1-labels.csv").write_text("\n".join(classes) + "\n")
    for split, ids in (("train", range(1, 13)), ("validation", range(20, 24))):
        lines = []
        for number in ids:
            (root / f"20bn-jester-v1/{number}").mkdir()
            for i, one in enumerate(frames(6)):
                Image.fromarray(one).save(root / f"20bn-jester-v1/{number}/{i + 1:05d}.jpg")
            lines.append(f"{number};{classes[number % 2]}\n")
        (root / f"jester-v1-{split}.csv").write_text("".join(lines))
    return root


def epic100(root: Path) -> Path:
    """Two videos of 24 frames, 12 a second."""
    for name in ("P01_01", "P01_02"):
        video(root / f"P01/videos/{name}.MP4", 24)
    header = (
        "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
        "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
    )

    def row(number: int, name: str, first: int, verb: int, noun: int) -> str:
        times = "00:00:01.00,00:00:00.50,00:00:02.00"
        return f'{name}_{number},P01,{name},{times},{first},{first + 6},"take, it",take,{verb},cup,{noun},"[\'cup\']",[{noun}]'

    train = [row(i, "P01_01", 8 + i, 3 * (i % 2), (11, 2)[i % 2]) for i in range(8)]
    val = [row(i, "P01_02", (18, 6)[i], 3 * i, 11) for i in range(2)]
    for split, rows in (("train", train), ("validation", val)):
        (root / f"EPIC_100_{split}.csv").write_text("\n".join([header, *rows]) + "\n")
    return root
