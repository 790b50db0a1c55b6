"""F2, F8, F9, F10: checkpoints that were cut short, damaged, forged, or belong to another run."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import nn

from faults.harness import FULL, Child, finish, same, some, start
from worldjepa.cli import main
from worldjepa.train import checkpoint
from worldjepa.train.optim import build_optimizer
from worldjepa.train.settings import OptimSettings

Size = Callable[[int, int], int]
Record = Callable[..., None]

# --- F2: killed at every step of a save ------------------------------------------------------------------------------

SYSTEM = frozenset(
    {
        *("open", "write", "close", "fsync", "rename", "replace", "mkdir", "rmdir", "unlink", "rmtree"),
        *("serialize_file", "listdir", "scandir", "stat", "lstat", "hexdigest"),
    }
)
"""Names of the functions through which a save touches the disk."""


def model_of(step: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model all of whose values are the number of a step."""
    model = nn.Linear(32, 32)
    optimizer = build_optimizer(model, OptimSettings())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(step)
    return model, optimizer


class Trap:
    """Counts calls that touch the disk, before and after each, and kills the process at one of them."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.seen = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event in ("c_call", "c_return") and getattr(argument, "__name__", "") in SYSTEM:
            if self.seen == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.seen += 1


def save_and_prune(folder: Path, step: int, at: int | None) -> int:
    """What the writer does; returns the number of places at which it can be killed."""
    model, optimizer = model_of(step)
    trap = Trap(at)
    sys.setprofile(trap)
    try:
        checkpoint.save(folder, step, model, optimizer, {}, "seed: 0\n")
        checkpoint.prune(folder, keep=1)
    finally:
        sys.setprofile(None)
    return trap.seen


@pytest.mark.parametrize("again", some(False, True), ids=some("the next step", "a step that is there already"))
def test_killed_at_every_step_of_a_save(again: bool, tmp_path: Path, size: Size, record: Record) -> None:
    """The newest sound checkpoint is the old one or the new one, and the next start clears away what is left.

    The quick suite kills before calls only: what is on disk then is what the call before has left.
    """
    before = tmp_path / "before"
    for step in (1, 2):
        checkpoint.save(before, step, *model_of(step), {}, "seed: 0\n")
    new = 2 if again else 3
    shutil.copytree(before, tmp_path / "dry")
    places = save_and_prune(tmp_path / "dry", new, None)
    assert places > 60
    whole = {path.name for path in (tmp_path / "dry").iterdir()}
    seen = set()
    tried = range(0, places, size(2, 1))
    for at in tried:
        folder = tmp_path / f"at{at}"
        shutil.copytree(before, folder)
        child = Child(lambda folder=folder, at=at: save_and_prune(folder, new, at), tmp_path / "log")  # type: ignore[misc]
        assert child.wait() == -signal.SIGKILL, child.said
        found, _ = checkpoint.newest(folder)
        assert found is not None
        seen.add(int(found.name[5:]))
        checkpoint.sweep(folder)
        assert all(path.name.startswith("step-") for path in folder.iterdir())
        checkpoint.save(folder, new, *model_of(new), {}, "seed: 0\n")
        checkpoint.prune(folder, keep=1)
        assert {path.name for path in folder.iterdir()} == whole
        assert checkpoint.damage(folder / checkpoint.name_of(new)) is None
        shutil.rmtree(folder)
    assert seen == ({1, 2} if again else {2, 3})
    what = "writing a step again" if again else "a save"
    record(
        "F2",
        f"SIGKILL before and after every call of {what} that touches the disk: old or new, nothing left",
        len(tried),
    )


# --- F8: damage ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sound(reference: Path, tmp_path: Path) -> Path:
    """A copy of the last checkpoint of the reference run."""
    return Path(shutil.copytree(reference / "checkpoints" / "step-00000024", tmp_path / "step-00000024"))


def test_every_flipped_bit_and_every_missing_byte_is_seen(sound: Path, size: Size, record: Record) -> None:
    chance, trials = random.Random(8), size(200, 2000)
    files = sorted(sound.iterdir())
    for _ in range(trials):
        file = chance.choice(files)
        content = file.read_bytes()
        spoilt = bytearray(content)
        spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        file.write_bytes(spoilt)
        assert checkpoint.damage(sound) is not None, file
        file.write_bytes(content)
    cuts = trials // 4
    for _ in range(cuts):
        file = chance.choice(files)
        content = file.read_bytes()
        file.write_bytes(content[: chance.randrange(len(content))])
        assert checkpoint.damage(sound) is not None, file
        file.write_bytes(content)
    assert checkpoint.damage(sound) is None
    record("F8", f"{trials} flipped bits, {cuts} truncations: all seen", trials + cuts)


@pytest.mark.parametrize("harm", ["missing", "swapped", "empty folder", "all damaged"])
def test_what_is_damaged_is_passed_over_or_refused(harm: str, reference: Path, tmp_path: Path, record: Record) -> None:
    out = Path(shutil.copytree(reference, tmp_path / "run"))
    newest = out / "checkpoints" / "step-00000024"
    if harm == "missing":
        (newest / "optimizer.safetensors").unlink()
    elif harm == "swapped":
        (newest / "model.safetensors").rename(newest / "aside")
        (newest / "optimizer.safetensors").rename(newest / "model.safetensors")
        (newest / "aside").rename(newest / "optimizer.safetensors")
    elif harm == "empty folder":
        shutil.rmtree(newest)
        newest.mkdir()
    else:
        for path in (out / "checkpoints").glob("step-*"):
            (path / "model.safetensors").write_bytes(b"")
    asked = start(tmp_path / "new", f"run.resume={newest}")
    assert asked.wait() == 2, asked.said
    assert f"checkpoint {newest} is damaged" in asked.said
    assert not (tmp_path / "new").exists()
    again = start(out)
    if harm == "all damaged":
        assert again.wait() == 2, again.said
        assert "no checkpoint is left to resume from" in again.said
    else:
        assert again.wait() == 0, again.said
        assert f"checkpoint {newest} is damaged" in again.said
        assert "going on from step 20" in again.said
        same(out, reference)
    record("F8", f"{harm}: auto says so and goes back, a path is an error, nothing starts from step 0", 1)


# --- F9: forged ------------------------------------------------------------------------------------------------------


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.file}",))


def forged(path: Path, name: str, content: bytes) -> None:
    """Put content into a checkpoint and make the manifest agree, as an attacker would."""
    import hashlib

    (path / name).write_bytes(content)
    manifest = json.loads((path / checkpoint.MANIFEST).read_text())
    manifest[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (path / checkpoint.MANIFEST).write_text(json.dumps(manifest))


def header(text: str | bytes, claimed: int | None = None, body: bytes = b"") -> bytes:
    """A safetensors file with this header."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data) if claimed is None else claimed) + data + body


def config(path: Path, text: str, canary: Path) -> None:
    """Forge the configuration: its own text with another encoder's target, or other text."""
    own = (path / "config.yaml").read_text()
    target = "_target_: worldjepa.encoders.ViT"
    assert target in own
    forged(path, "config.yaml", (own.replace(target, text) if text.startswith("_target_") else text).encode())


def names(path: Path, name: str) -> None:
    """A manifest that names a file elsewhere."""
    manifest = json.loads((path / checkpoint.MANIFEST).read_text())
    manifest[name] = manifest.pop("model.safetensors")
    (path / checkpoint.MANIFEST).write_text(json.dumps(manifest))


def link_out(path: Path, canary: Path) -> None:
    """The weights are a link to a file elsewhere."""
    (path / "model.safetensors").rename(path.parent / "elsewhere")
    (path / "model.safetensors").symlink_to(path.parent / "elsewhere")


def tensor_file(path: Path, **entry: object) -> None:
    """Weights whose header says strange things about one tensor."""
    value = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **entry}
    forged(path, "model.safetensors", header(json.dumps({"encoder.norm.bias": value}), body=bytes(8)))


BILLION = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

PAYLOADS: dict[str, Callable[[Path, Path], object]] = {
    "pickle as weights": lambda p, c: forged(p, "model.safetensors", pickle.dumps(Canary(c))),
    "pickle as moments": lambda p, c: forged(p, "optimizer.safetensors", pickle.dumps(Canary(c))),
    "pickle as state": lambda p, c: forged(p, "state.json", pickle.dumps(Canary(c))),
    "pickle as configuration": lambda p, c: forged(p, "config.yaml", pickle.dumps(Canary(c))),
    "pickle as manifest": lambda p, c: (p / checkpoint.MANIFEST).write_bytes(pickle.dumps(Canary(c))),
    "pickle beside the rest": lambda p, c: names(p, "model.pt"),
    "distributed metadata": lambda p, c: names(p, ".metadata"),
    "name above the folder": lambda p, c: names(p, "../model.safetensors"),
    "absolute name": lambda p, c: names(p, "/etc/passwd"),
    "name that is a number": lambda p, c: (p / checkpoint.MANIFEST).write_text("[1, 2]"),
    "link": link_out,
    "header of 2**63 bytes": lambda p, c: forged(p, "model.safetensors", header("{}", 2**63)),
    "header of 90 MB": lambda p, c: forged(p, "model.safetensors", header("{}", 90 << 20)),
    "header that is no text": lambda p, c: forged(p, "model.safetensors", header(b"\xff\xfe\xfd")),
    "deep header": lambda p, c: forged(p, "model.safetensors", header("[" * 100_000)),
    "rows that are none": lambda p, c: forged(p, "model.safetensors", header('{"__metadata__":{"rows":"[1]"}}')),
    "offsets beyond the end": lambda p, c: tensor_file(p, data_offsets=[0, 2**40], shape=[2**38]),
    "offsets that run backwards": lambda p, c: tensor_file(p, data_offsets=[8, 0]),
    "a shape of 2**62": lambda p, c: tensor_file(p, shape=[2**31, 2**31]),
    "an unknown type": lambda p, c: tensor_file(p, dtype="OBJECT"),
    "deep JSON": lambda p, c: forged(p, "state.json", b"[" * 200_000),
    "a number of a million digits": lambda p, c: forged(p, "state.json", b'{"step": ' + b"9" * 1_000_000 + b"}"),
    "a step below zero": lambda p, c: forged(p, "state.json", b'{"step": -5}'),
    "JSON of 80 MB": lambda p, c: forged(p, "state.json", b" " * (80 << 20)),
    "YAML that calls": lambda p, c: config(p, f"!!python/object/apply:os.system ['touch {c}']\n", c),
    "YAML with a tag": lambda p, c: config(p, f"seed: !!python/name:os.system ''\nx: touch {c}\n", c),
    "YAML of a billion": lambda p, c: config(p, BILLION, c),
    "target os.system": lambda p, c: config(p, f"_target_: os.system\n    command: touch {c}\n    x: 1", c),
    "target subprocess": lambda p, c: config(p, f"_target_: subprocess.getoutput\n    cmd: touch {c}", c),
    "target torch.hub.load": lambda p, c: config(p, "_target_: torch.hub.load\n    repo_or_dir: x/y", c),
    "target torch.load": lambda p, c: config(p, f"_target_: torch.load\n    f: {c}", c),
    "target behind our module": lambda p, c: config(p, "_target_: worldjepa.train.folder.subprocess.getoutput", c),
    "target that writes": lambda p, c: config(p, f"_target_: worldjepa.train.folder.start\n    folder: {c}", c),
    "a secret of the environment": lambda p, c: config(p, "seed: ${oc.env:WORLDJEPA_TEST_SECRET}\n", c),
}
"""What is done to a checkpoint, given its folder and a file that must not come into being."""


@pytest.mark.parametrize("verb", ["eval", "train"])
@pytest.mark.parametrize("kind", PAYLOADS)
def test_a_forged_checkpoint_runs_nothing(kind: str, verb: str, sound: Path, tmp_path: Path, record: Record) -> None:
    canary, secret = tmp_path / "canary", "do-not-tell-7319"
    PAYLOADS[kind](sound, canary)
    out = tmp_path / "out"

    def look() -> int:
        os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
        os.environ["WORLDJEPA_TEST_SECRET"] = secret
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        if verb == "eval":
            code = main(["eval", f"checkpoint={sound}", "run.accelerator=cpu"])
        else:
            from faults.harness import words

            code = main(words(out, f"run.resume={sound}", "run.steps=25"))
        seconds = time.process_time() - began
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # kilobytes
        print(f"{seconds:.2f} s, {grown} kB")
        return code if seconds < (2 if FULL else 8) and grown < 200_000 else 9  # tests beside it stretch the seconds

    child = Child(look, tmp_path / "log")
    code = child.wait()
    assert not canary.exists()
    if (kind, verb) == ("pickle as moments", "eval"):  # which reads the weights alone
        assert code == 0, child.said
        return
    assert code == 2, child.said
    assert secret not in child.said
    assert not out.exists()
    assert sum(line.startswith("error: ") for line in child.said.splitlines()) == 1, child.said
    assert "Traceback" not in child.said
    if verb == "eval":
        record("F9", f"{kind}: refused within 2 s and 200 MB, nothing runs", 1)


@pytest.mark.parametrize("path", ["http://localhost:8300/step-00000024", "https://example.org/run"])
def test_an_address_is_no_path(path: str, tmp_path: Path, record: Record) -> None:
    for words in (["eval", f"checkpoint={path}"], ["train", f"run.resume={path}", f"run.out={tmp_path / 'out'}"]):
        child = Child(lambda words=words: main(words), tmp_path / "log")  # type: ignore[misc]
        assert child.wait() == 2, child.said
    assert not (tmp_path / "out").exists()
    record("F9", "a checkpoint by http: refused", 1)


# --- F10: another run ------------------------------------------------------------------------------------------------

OTHER = {
    "seed=1": "seed",
    "arch.dim=48": "arch.dim",
    "arch.patch=8": "arch.patch",
    "arch.encoder.depth=2": "optimizer_groups",
    "arch.predictor.depth=2": "predictor.depth",
    "run.batch_size=4": "global_batch",
    "run.accumulate=2": "global_batch",
    "optim.lr=0.5": "optim.lr",
    "optim.ema_start=0.5": "optim.ema_start",
    "masks.targets=3": "masks.targets",
    "data.count=65": "data_fingerprint",
    "data.seed=1": "data_fingerprint",
    "data=shapes": "data._target_",
    "method=ijepa_vicreg": "objective._target_",
    "arch.encoder.heads=3": "arch.encoder.heads",
}
"""What contradicts a checkpoint, and the key that the answer must name."""


@pytest.mark.parametrize("word", OTHER)
def test_a_configuration_that_contradicts_the_checkpoint(
    word: str, reference: Path, tmp_path: Path, record: Record
) -> None:
    child = start(tmp_path / "new", f"run.resume={reference}", "run.steps=30", word)
    assert child.wait() == 2, child.said
    assert "belongs to another run" in child.said
    assert f"{OTHER[word]} was " in child.said
    assert not (tmp_path / "new").exists()
    record("F10", f"{word}: refused before the first step, with key, saved and current value", 1)


def test_the_same_configuration_goes_on(reference: Path, tmp_path: Path) -> None:
    """So that the refusals above are those of the contradiction."""
    finish(tmp_path / "new", f"run.resume={reference}", "run.steps=30", "run.allow_mismatch=[]")
