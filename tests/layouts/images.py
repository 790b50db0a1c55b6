"""Images, as they are published."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

RECORD = 3 * 32 * 32


class OldPickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes as Python 2 did, which made the published files: text as plain bytes, and numpy under its old name."""

    def save_plain(self, data: bytes) -> None:
        self.write(pickle.BINSTRING + len(data).to_bytes(4, "little") + data)
        self.memoize(data)

    dispatch = {**pickle._Pickler.dispatch, bytes: save_plain}  # type: ignore[attr-defined] # noqa: RUF012


def as_published(content: object) -> bytes:
    stream = io.BytesIO()
    OldPickler(stream, protocol=2).dump(content)
    return stream.getvalue().replace(b"numpy._core.", b"numpy.core.")


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, RECORD), dtype=np.uint8)


def coarse(labels: np.ndarray) -> np.ndarray:
    return labels // 2


def cifar100(root: Path, python: bool = False) -> Path:
    fine, broad = ["apple", "bear", "cup", "dog"], ["fruit", "animal"]
    folder = root / ("cifar-100-python" if python else "cifar-100-binary")
    folder.mkdir(parents=True)
    for name, count, seed in (("train", 20, 0), ("test", 8, 1)):
        pixels, labels = images(count, seed), np.arange(count) % 4
        if python:
            content = {
                b"data": pixels,
                b"fine_labels": labels.tolist(),
                b"coarse_labels": coarse(labels).tolist(),
                b"filenames": [b"a.png"] * count,
            }
            (folder / name).write_bytes(as_published(content))
        else:
            rows = np.concatenate([np.stack([coarse(labels), labels], 1).astype(np.uint8), pixels], 1)
            (folder / f"{name}.bin").write_bytes(rows.tobytes())
    if python:
        meta = {b"fine_label_names": [n.encode() for n in fine], b"coarse_label_names": [n.encode() for n in broad]}
        (folder / "meta").write_bytes(as_published(meta))
    else:
        (folder / "fine_label_names.txt").write_text("\n".join(fine) + "\n\n")
        (folder / "coarse_label_names.txt").write_text("\n".join(broad) + "\n")
    return root


def cifar10(root: Path) -> Path:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        rows = np.concatenate([np.array([[0], [1], [seed % 2]], np.uint8), images(3, seed)], 1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\n")
    return root


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (12, 9)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def clevr(root: Path, depths: dict[str, list[list[float]]] | None = None) -> Path:
    """`depths` are those of the things in each picture, by split."""
    usual = [[7.5 + i / 4, 11.0, 12.0, *([12.5] * (i % 3))] for i in range(12)]
    for split, scenes in (depths or {"train": usual, "val": usual[:6][::-1]}).items():
        listed = []
        for i, things in enumerate(scenes):
            name = f"CLEVR_{split}_{i:06d}.png"
            picture(root / "CLEVR_v1.0/images" / split / name, i + 50 * (split == "val"))
            objects = [{"shape": "cube", "color": "red", "pixel_coords": [5, 4, depth]} for depth in things]
            listed.append({"image_index": i, "image_filename": name, "split": split, "objects": objects})
        path = root / f"CLEVR_v1.0/scenes/CLEVR_{split}_scenes.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"info": {"split": split}, "scenes": listed}))
    return root


def places205(root: Path) -> Path:
    (root / "trainvalsplit_places205").mkdir(parents=True)
    for split, count in (("train", 12), ("val", 4)):
        lines = []
        for i in range(count):
            name = f"a/abbey/{split}_{i}.jpg" if i % 2 else f"y/yard/{split} {i}.jpg"
            picture(root / "data/vision/torralba/deeplearning/images256" / name, i)
            lines.append(f"{name} {0 if i % 2 else 11}\n")
        (root / f"trainvalsplit_places205/{split}_places205.csv").write_text("".join(lines))
    return root


def inat18(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for split, first, count in (("train", 100, 12), ("val", 200, 4)):
        listed = [
            (first + i, f"train_val2018/Plantae/{i % 3}/{split}{i}.jpg", (7, 12, 300)[i % 3]) for i in range(count)
        ]
        for number, name, _ in listed:
            picture(root / name, number)
        content = {
            "images": [{"id": number, "file_name": name, "width": 12, "height": 9} for number, name, _ in listed],
            "annotations": [
                {"id": number, "image_id": number, "category_id": category} for number, _, category in reversed(listed)
            ],
        }
        (root / f"{split}2018.json").write_text(json.dumps(content))
    return root


def labels(path: Path, pixels: np.ndarray) -> None:
    """A map of numbers, with a palette as the published ones have."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels.astype(np.uint8), "L").convert("P")
    image.putdata(pixels.flatten().tolist())
    image.putpalette([value for i in range(256) for value in (i, 255 - i, 77)])
    image.save(path)


def ade20k(root: Path) -> Path:
    for split, short, count in (("training", "train", 10), ("validation", "val", 3)):
        for i in range(count):
            name = f"ADE_{short}_{i + 1:08d}"
            picture(root / f"ADEChallengeData2016/images/{split}/{name}.jpg", i, (16, 12))
            numbers = np.random.default_rng(i).integers(0, 151, (12, 16))
            labels(root / f"ADEChallengeData2016/annotations/{split}/{name}.png", numbers)
    return root


def nyu_depth(root: Path, count: int = 8) -> Path:
    """Pictures whose red says how far each pixel is, laid out as MATLAB does: the last axis first."""
    import scipy.io

    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    metres = np.repeat(np.repeat(rng.uniform(0.5, 9.5, (count, 6, 8)), 80, 1), 80, 2).astype(np.float32)  # [N, H, W]
    pixels = np.repeat(np.round(25 * metres)[:, None], 3, 1).astype(np.uint8)
    metres[:, :, 320] = 0  # no echo
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        file.create_dataset("images", data=pixels.swapaxes(2, 3), compression="lzf")
        file.create_dataset("depths", data=metres.swapaxes(1, 2), compression="lzf")
    numbers = np.arange(1, count + 1)[:, None].astype(np.float64)
    scipy.io.savemat(root / "splits.mat", {"trainNdxs": numbers[:-3], "testNdxs": numbers[-3:]})
    return root


def davis(root: Path) -> Path:
    home = root / "DAVIS"
    (home / "ImageSets/2017").mkdir(parents=True)
    for split, names in (("train", ["bear", "boat"]), ("val", ["dogs"])):
        (home / f"ImageSets/2017/{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            for i in range(4):
                picture(home / f"JPEGImages/480p/{name}/{i:05d}.jpg", i, (20, 12))
                numbers = np.zeros((12, 20))
                numbers[2:5, i : i + 4], numbers[7:10, i : i + 3], numbers[11] = 1, 2, 255
                labels(home / f"Annotations/480p/{name}/{i:05d}.png", numbers)
    return root
