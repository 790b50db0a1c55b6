"""Files that mean harm are refused with one line and run nothing."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import worldjepa
from interop.toys import HEADS, encoder, official, save_official
from worldjepa.cli import main
from worldjepa.errors import UserError


class Payload:
    """Unpickling this leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def write_zip(file: Path, mark: Path) -> None:
    torch.save({**official(), "loss": Payload(mark)}, file)


def write_legacy(file: Path, mark: Path) -> None:
    torch.save({**official(), "loss": Payload(mark)}, file, _use_new_zipfile_serialization=False)


def write_pickle(file: Path, mark: Path) -> None:
    file.write_bytes(pickle.dumps(Payload(mark)))


WRITERS = [write_zip, write_legacy, write_pickle]


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("name", ["a.pt", "a.pth.tar", "pytorch_model.bin", "a.safetensors", "a"])
@pytest.mark.parametrize("write", WRITERS)
def test_payloads(
    write: Callable[[Path, Path], None], name: str, lifted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lifted:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    mark = tmp_path / "ran"
    write(tmp_path / name, mark)
    with pytest.raises(UserError, match=r"holds more than plain tensors|cannot be read as safetensors"):
        worldjepa.load(tmp_path / name, heads=HEADS)
    assert not mark.exists()


def test_the_payload_would_run(tmp_path: Path) -> None:
    write_pickle(tmp_path / "a", tmp_path / "ran")
    pickle.loads((tmp_path / "a").read_bytes())  # noqa: S301 - to see that the trap is one
    assert (tmp_path / "ran").exists()


def test_one_line_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_zip(tmp_path / "a.pt", tmp_path / "ran")
    assert main(["export", f"checkpoint={tmp_path / 'a.pt'}", "format=hf", f"out={tmp_path / 'hf'}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 90_000_000) + b"{" + b" " * 100,
        struct.pack("<Q", 70) + b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}    ',
        struct.pack("<Q", 5) + b"[1,2]",
    ],
)
def test_safetensors_headers(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=r"cannot be read as safetensors|holds no named tensors"):
        worldjepa.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("data", [b"junk", b"r\x01", b"\x80\x02X\x10", b"\x80\x02J\x01\x02", b"PK\x03\x04", b"(" * 99])
def test_files_that_are_none(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(UserError, match="is damaged, or holds more than plain tensors"):
        worldjepa.load(tmp_path / "a.pt")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_cut_off(keep: float, tmp_path: Path) -> None:
    file = save_official(tmp_path / "a.pth.tar")
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(UserError, match="is damaged"):
        worldjepa.load(file, heads=HEADS)


def test_a_zip_that_is_no_checkpoint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("../../evil", "x")
    with pytest.raises(UserError, match="is damaged"):
        worldjepa.load(tmp_path / "a.pt")


@pytest.mark.parametrize("address", ["http://x/y.pt", "https://x/y.pt", "s3://x/y", "hf://a/b", "file:///etc/passwd"])
def test_addresses(address: str) -> None:
    with pytest.raises(UserError, match=r"is an address, not a file: download it first"):
        worldjepa.load(address)
    with pytest.raises(UserError, match=r"is an address|there is no file"):
        worldjepa.load(Path(address))


def test_shards_outside_the_folder(tmp_path: Path) -> None:
    save_file(encoder(), tmp_path / "secret.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "ijepa"}')
    for name in ("../secret.safetensors", str(tmp_path / "secret.safetensors"), "model.bin"):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(UserError, match="is not a safetensors file beside it"):
            worldjepa.load(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '{"a": ' * 100_000, "\xff", "9" * 10_000, " " * (2 << 20)]
)
def test_no_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    save_file(encoder(), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"is not JSON|must hold an object|more than"):
        worldjepa.load(tmp_path, heads=HEADS)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(UserError, match="is not a file"):
        worldjepa.load(tmp_path)
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(UserError):
        worldjepa.load(tmp_path / "a.pt")


# --- configurations of our own folder -------------------------------------------------------------------------------


@pytest.fixture
def rewritten(tmp_path: Path) -> Callable[..., Path]:
    """A folder of ours whose config.json says something else."""
    model = worldjepa.load(save_official(tmp_path / "f.pth.tar"), heads=HEADS)
    folder = worldjepa.save(model, tmp_path / "saved")

    def rewrite(part: str | None = None, **changed: Any) -> Path:
        config = json.loads((folder / "config.json").read_text())
        (config if part is None else config[part]).update(changed)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return rewrite


@pytest.mark.parametrize(
    "target",
    [
        *("os.system", "torch.load", "torch.hub.load", "worldjepa.train.folder.subprocess.Popen", "worldjepa.cli.main"),
        *("builtins.eval", "timm.create_model", "hydra.utils.instantiate", "worldjepa.nothing.There"),
    ],
)
def test_only_our_classes_are_constructed(target: str, rewritten: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"would construct|has no 'nothing'"):
        worldjepa.load(rewritten("encoder", tokenizer={"_target_": target}))
    with pytest.raises(UserError, match=r"would construct|has no 'nothing'"):
        worldjepa.load(rewritten("encoder", _target_=target))


@pytest.mark.parametrize(
    ("part", "changed", "told"),
    [
        ("encoder", {"depth": 10**9}, "depth=1000000000 .* more than it can be"),
        ("encoder", {"dim": 10**12}, "dim=1000000000000 .* more than it can be"),
        ("encoder", {"depth": 10**400}, "more than it can be"),
        ("encoder", {"depth": 3}, "missing: blocks.2"),
        ("encoder", {"depth": "many"}, "cannot be built from its configuration"),
        ("encoder", {"heads": 5}, "does not divide"),
        ("encoder", {"heads": 0}, "cannot be built"),
        ("encoder", {"strange": 1}, "cannot be built"),
        ("encoder", {"dim": None}, "cannot be built"),
        ("encoder", {"axes": "${oc.env:HOME}"}, "holds a reference"),
        ("encoder", {"axes": "${"}, "cannot be read|holds a reference"),
        (
            "predictor",
            {"positions": {"_target_": "worldjepa.nn.positions.Table", "height": -1, "width": 1, "dim": 4}},
            "at least 1",
        ),
        (None, {"encoder": 3}, "must be an object with a _target_"),
        (None, {"encoder": None}, "has no 'encoder'"),
        (None, {"version": 99}, "is of version 99"),
        (None, {"predictor": None}, "left over: predictor."),
        (None, {"image": [3, 1e9, "x"]}, "must be three whole numbers"),
    ],
)
def test_strange_values(part: str | None, changed: dict[str, Any], told: str, rewritten: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=told):
        worldjepa.load(rewritten(part, **changed))
