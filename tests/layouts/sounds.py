"""Recordings, as they are published."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile


def sound(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 0.1, 1_600)
    soundfile.write(path, noise.astype(np.float32), 16_000)


FAMILIES = ("bass", "brass", "flute")


def nsynth(root: Path) -> Path:
    for split, count in (("train", 12), ("valid", 3), ("test", 6)):
        notes = {}
        for i in reversed(range(count)):
            family = i % 3
            name = f"{FAMILIES[family]}_acoustic_{i:03d}-{60 + i:03d}-100"
            sound(root / f"nsynth-{split}/audio/{name}.wav", i + count)
            notes[name] = {
                "note": i,
                "note_str": name,
                "pitch": 60 + i,
                "velocity": 100,
                "instrument_family": family,
                "instrument_family_str": FAMILIES[family],
            }
        (root / f"nsynth-{split}/examples.json").write_text(json.dumps(notes))
    return root


def fsd50k(root: Path) -> Path:
    tags = ("Bark,Dog,Animal", "Rain", "Meow,Animal", "")
    (root / "FSD50K.ground_truth").mkdir(parents=True)
    for part, count in (("dev", 8), ("eval", 4)):
        lines = ["fname,labels,mids" + ",split" * (part == "dev")]
        for i in range(count):
            sound(root / f"FSD50K.{part}_audio/{100 + i}.wav", i + count)
            split = f",{'val' if i in (2, 5) else 'train'}" if part == "dev" else ""
            lines.append(f'{100 + i},"{tags[i % 4]}","/m/1"{split}')
        (root / f"FSD50K.ground_truth/{part}.csv").write_text("\n".join(lines) + "\n")
    return root


def gtzan(root: Path, lists: bool = False) -> Path:
    for genre in ("blues", "jazz"):
        for i in range(50, 60):
            sound(root / f"genres/{genre}/{genre}.{i:05d}.wav", i)
    (root / "genres/jazz/jazz.00054.wav").write_bytes(b"RIFF" + bytes(60))  # as in the original archive
    if lists:
        for split, numbers in (("train", (53, 50, 51)), ("valid", (52,)), ("test", (55, 54))):
            lines = [f"{genre}/{genre}.{i:05d}.wav\n" for i in numbers for genre in ("jazz", "blues")]
            (root / f"{split}_filtered.txt").write_text("".join(lines))
    return root


def hear(root: Path, folds: int = 0, several: bool = False, embedding: str = "scene") -> Path:
    """One task, `beehive`, under `root`."""
    home = root / "beehive"
    home.mkdir(parents=True)
    about = {
        "task_name": "beehive",
        "version": "hear2021",
        "embedding_type": embedding,
        "prediction_type": "multilabel" if several else "multiclass",
        "split_mode": "new_split_kfold" if folds else "trainvaltest",
        "evaluation": ["top1_acc"],
    }
    (home / "task_metadata.json").write_text(json.dumps(about))
    (home / "labelvocabulary.csv").write_text("idx,label\n1,queen\n0,none\n2,swarm\n")
    splits = [f"fold{i:02d}" for i in range(folds)] or ["train", "valid", "test"]
    for split in splits:
        listed = {}
        for i in range(4):
            sound(home / f"48000/{split}/{i}.wav", i + len(splits) * ord(split[-1]))
            listed[f"{i}.wav"] = [("none", "queen")[i % 2], *(["swarm"] if several and i > 1 else [])]
        (home / f"{split}.json").write_text(json.dumps(listed))
    return root
