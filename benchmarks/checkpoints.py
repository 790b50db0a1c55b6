"""Three ways to write a checkpoint, under the same faults: `torch.save`, Lightning Fabric's `save`, and ours.

    python -m benchmarks.checkpoints

- killed at a random moment while the newest checkpoint is written again and again: can what carries its name be read?
- killed while it is published, with the folder for temporary files on another file system than the checkpoints;
- a disk that takes no more: is it said, and is the last one whole?
- a folder that may not be written: is it said?
- one flipped bit: is it seen when the checkpoint is loaded?

All three write the same tensors. `torch.save` writes over the old file, as most training scripts do.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table
from safetensors import SafetensorError
from torch import nn

from worldjepa.errors import UserError
from worldjepa.train import checkpoint
from worldjepa.train.optim import build_optimizer
from worldjepa.train.settings import OptimSettings


def toy(megabytes: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model whose weights and moments take about so much."""
    side = int((megabytes * 1e6 / 12) ** 0.5)
    model = nn.Linear(side, side, bias=False)
    optimizer = build_optimizer(model, OptimSettings())
    model.weight.grad = torch.ones_like(model.weight)
    optimizer.step()
    return model, optimizer


class Way(ABC):
    """One way to write and read checkpoints below a folder."""

    name: str

    def __init__(self, megabytes: int) -> None:
        self.model, self.optimizer = toy(megabytes)

    @abstractmethod
    def save(self, folder: Path, step: int) -> None:
        """Write the checkpoint of a step."""

    @abstractmethod
    def readable(self, folder: Path) -> bool:
        """Whether the newest checkpoint can be loaded, or there is none yet."""

    def files(self, folder: Path) -> list[Path]:
        """The files with tensors."""
        return [path for path in folder.rglob("*") if path.is_file() and path.suffix in (".pt", ".safetensors")]

    def state(self) -> dict[str, Any]:
        """The tensors."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}


class TorchSave(Way):
    """`torch.save` over the file of the newest checkpoint."""

    name = "torch.save"

    def save(self, folder: Path, step: int) -> None:
        """See `Way`."""
        folder.mkdir(exist_ok=True)
        torch.save(self.state(), folder / "latest.pt")

    def readable(self, folder: Path) -> bool:
        """See `Way`."""
        file = folder / "latest.pt"
        if not file.exists():
            return True
        try:
            torch.load(file, weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError, KeyError):  # what PyTorch says of a file that is cut short
            return False
        return True


class FabricSave(TorchSave):
    """Lightning Fabric's `save` to the same name."""

    name = "Fabric.save"

    def __init__(self, megabytes: int) -> None:
        super().__init__(megabytes)
        self.fabric = Fabric(accelerator="cpu", devices=1)

    def save(self, folder: Path, step: int) -> None:
        """See `Way`."""
        folder.mkdir(exist_ok=True)
        self.fabric.save(folder / "latest.pt", self.state())


class Ours(Way):
    """`worldjepa.train.checkpoint`."""

    name = "worldjepa"

    def save(self, folder: Path, step: int) -> None:
        """See `Way`."""
        checkpoint.save(folder, step, self.model, self.optimizer, {}, "seed: 0\n")
        checkpoint.prune(folder, keep=1)

    def readable(self, folder: Path) -> bool:
        """See `Way`."""
        names = checkpoint.steps_in(folder) if folder.exists() else []
        if not names:
            return True
        try:
            found = checkpoint.locate(names[-1])
            checkpoint.load_model(found, self.model)
            checkpoint.load_optimizer(found, self.optimizer)
        except (UserError, SafetensorError):
            return False
        return True


WAYS: tuple[type[Way], ...] = (TorchSave, FabricSave, Ours)


def child(work: Callable[[], object]) -> multiprocessing.Process:
    """Run something in a forked process, silently."""

    def quiet() -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        work()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=quiet)
    process.start()
    return process


def killed(way: Way, folder: Path, wait: float, temporary: Path | None = None) -> None:
    """Write checkpoints again and again, and be killed after some time."""

    def work() -> None:
        if temporary is not None:
            tempfile.tempdir = str(temporary)
        for step in range(1, 10_000):
            way.save(folder, step)

    process = child(work)
    time.sleep(wait)
    process.kill()
    process.join()


def kills(way: Way, root: Path, trials: int, temporary: Path | None, chance: random.Random) -> str:
    """The share of kills after which the newest checkpoint cannot be read."""
    began = time.perf_counter()
    way.save(root / "clock", 1)
    once = time.perf_counter() - began
    broken = 0
    for trial in range(trials):
        folder = root / f"trial-{trial}"
        way.save(folder, 0)
        killed(way, folder, chance.uniform(0.05, 0.05 + 4 * once), temporary)
        broken += not way.readable(folder)
        shutil.rmtree(folder)
    return f"{broken}/{trials} unreadable"


def published(way: Way, root: Path, trials: int, temporary: Path) -> str:
    """The same, killed as soon as anything in the folder changes while the temporary files lie elsewhere."""
    broken = 0
    for trial in range(trials):
        folder = root / f"publish-{trial}"
        way.save(folder, 0)

        def stamp(folder: Path = folder) -> list[tuple[str, int, int]]:
            found = []
            for path in folder.rglob("*"):
                try:
                    facts = path.stat()
                except FileNotFoundError:  # renamed or deleted while we look
                    continue
                found.append((str(path), facts.st_mtime_ns, facts.st_size))
            return sorted(found)

        def work(folder: Path = folder) -> None:
            tempfile.tempdir = str(temporary)
            way.save(folder, 1)
            time.sleep(5)

        before = stamp()
        process = child(work)
        while process.is_alive() and stamp() == before:
            pass
        process.kill()
        process.join()
        broken += not way.readable(folder)
        shutil.rmtree(folder)
    return f"{broken}/{trials} unreadable"


def told(work: Callable[[], object]) -> bool:
    """Whether an error is raised, in a process of its own."""
    receive, send = multiprocessing.Pipe(duplex=False)

    def tell() -> None:
        try:
            work()
        # Each way has errors of its own; here it only counts that there is one.
        except (OSError, RuntimeError, ValueError) as error:
            send.send(type(error).__name__)
            return
        send.send("")

    process = child(tell)
    process.join()
    return bool(receive.poll() and receive.recv())


def full_disk(way: Way, root: Path) -> str:
    """A file may no longer grow to the size of a checkpoint."""
    folder = root / "full"
    way.save(folder, 0)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        way.save(folder, 1)

    said = told(work)
    return f"{'said' if said else 'not said'}, the last one {'whole' if way.readable(folder) else 'LOST'}"


def closed_folder(way: Way, root: Path) -> str:
    """The folder belongs to somebody else."""
    folder = root / "closed"
    way.save(folder, 0)
    for path in (root, folder, *folder.rglob("*")):
        path.chmod(0o755 if path == root else 0o555)
    before = sorted(path.stat().st_mtime_ns for path in folder.rglob("*"))

    def work() -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        way.save(folder, 1)

    said = told(work)
    written = before != sorted(path.stat().st_mtime_ns for path in folder.rglob("*"))
    return "written" if written else ("said" if said else "nothing written, NOT said")


def flips(way: Way, root: Path, trials: int, chance: random.Random) -> str:
    """One flipped bit somewhere in the files with tensors."""
    folder = root / "flips"
    way.save(folder, 0)
    files, seen = way.files(folder), 0
    for _ in range(trials):
        file = chance.choices(files, [path.stat().st_size for path in files])[0]
        place = chance.randrange(file.stat().st_size)
        with file.open("r+b") as stream:
            stream.seek(place)
            byte = stream.read(1)[0]
            stream.seek(place)
            stream.write(bytes([byte ^ 1 << chance.randrange(8)]))
            stream.flush()
            seen += not way.readable(folder)
            stream.seek(place)
            stream.write(bytes([byte]))
    return f"{seen}/{trials} seen"


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=96, help="size of a checkpoint that is killed")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--other", type=Path, default=Path("/dev/shm"), help="a folder on another file system")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("fault", *(way.name for way in WAYS))
    rows: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory(dir=options.other) as other:
        Path(name).chmod(0o755)  # so that another user gets as far as the closed folder
        apart = os.stat(name).st_dev != os.stat(other).st_dev
        for kind in WAYS:
            way, small = kind(options.megabytes), kind(2)
            root = Path(name) / kind.name
            root.mkdir(parents=True)
            found = {"killed at random": kills(way, root, options.kills, None, random.Random(1))}
            if apart:
                title = "killed while publishing, temporary files on another file system"
                found[title] = published(way, root, max(1, options.kills // 5), Path(other))
            found["disk full"] = full_disk(way, root)
            found["one flipped bit"] = flips(small, root, options.flips, random.Random(2))
            found["folder that may not be written"] = closed_folder(small, root)
            for fault, result in found.items():
                rows.setdefault(fault, []).append(result)
            root.chmod(0o755)
    for fault, results in rows.items():
        table.add_row(fault, *results)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
