"""What `worldjepa doctor` looks at: an installation's facts, gathered without importing what could break us."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldjepa.errors import UserError

PACKAGES = (
    *("torch", "torchvision", "torchaudio", "timm", "hydra-core", "lightning-fabric", "lightning", "pytorch-lightning"),
    *("decord", "av", "soundfile"),
)
"""Distributions whose versions are of interest."""

IMPORTS = ("torch", "torchvision", "torchaudio", "decord", "av", "soundfile")
"""Modules with compiled parts: whether they load is only known by loading them."""

_TIMEOUT = 60.0
_TOGETHER = ("torch", "torchvision", "torchaudio")

# Answers one line for each module, so that a crash costs only those that follow.
# PyTorch comes first because the others link against it. The program skips its teardown: decord crashes in its own.
_PROGRAM = """
import importlib, json, os, sys
if any(name.startswith("torch") for name in sys.argv[1:]):
    import torch
for name in sys.argv[1:]:
    importlib.import_module(name)
    answer = {}
    if name == "torch":
        answer["cuda_build"] = torch.version.cuda
        answer["cuda"] = [
            [torch.cuda.get_device_name(i), torch.cuda.get_device_properties(i).total_memory / 2**30]
            for i in range(torch.cuda.device_count())
        ]
        answer["mps"] = torch.backends.mps.is_available()
    print("answer:" + json.dumps([name, answer]), flush=True)
os._exit(0)
"""


@dataclass(frozen=True)
class Facts:
    """An installation as found. `versions` has no entry for what is not installed."""

    python: tuple[int, int, int]
    versions: Mapping[str, str]
    import_errors: Mapping[str, str]
    """For the modules of `IMPORTS` that are installed and do not load: the error's last line."""
    cuda_build: str | None = None
    """The CUDA version that PyTorch was built for; None for a build without CUDA."""
    cuda: tuple[tuple[str, float], ...] = ()
    """The CUDA devices: name and memory in GiB."""
    mps: bool = False
    cpus: int = 1
    """Processors that this process may run on."""
    cpu_limit: float | None = None
    """How many of them its control group may use at once; None without a limit."""
    home: str = ""
    """The folder for caches."""
    free_gib: float = 0.0
    """Free space there."""
    configs: str | None = None
    """The folder of the option files; None if they are missing."""
    modalities: tuple[str, ...] = ()
    """The modalities that can be imported."""
    nvidia_driver: bool = field(default=False)
    """Whether the machine has an NVIDIA driver."""


def gather() -> Facts:
    """Examine the installation. Takes some seconds; every import runs in a process of its own."""
    versions = {name: version for name in PACKAGES if (version := _version(name)) is not None}
    installed = [name for name in IMPORTS if name in versions]
    together = [name for name in installed if name in _TOGETHER]
    tasks = [together] * bool(together) + [[name] for name in installed if name not in _TOGETHER]
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = {name: answer for found in pool.map(try_imports, tasks) for name, answer in found.items()}
    torch = answers.get("torch", {})
    home = cache_home()
    return Facts(
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        versions=versions,
        import_errors={name: str(answer["error"]) for name, answer in answers.items() if "error" in answer},
        cuda_build=torch.get("cuda_build"),
        cuda=tuple((name, memory) for name, memory in torch.get("cuda", [])),
        mps=torch.get("mps", False),
        cpus=_cpus(),
        cpu_limit=cpu_limit(Path("/sys/fs/cgroup/cpu.max")),
        home=str(home),
        free_gib=_free_gib(home),
        configs=_configs(),
        modalities=_modalities(),
        nvidia_driver=shutil.which("nvidia-smi") is not None,
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def try_imports(names: Sequence[str], timeout: float = _TIMEOUT) -> dict[str, dict[str, Any]]:
    """Import modules, in this order, in a process of their own; after a failure the rest get another process.

    Returns:
        For each module what it told about itself, or under `error` why it does not load.
    """
    command = [sys.executable, "-c", _PROGRAM, *names]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as expired:
        output, error = _text(expired.stdout), f"importing it takes longer than {timeout:.0f} s"
    else:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        output, error = done.stdout, lines[-1] if lines else f"the process ended with code {done.returncode}"
    marked = [line.removeprefix("answer:") for line in output.splitlines() if line.startswith("answer:")]
    answers: dict[str, dict[str, Any]] = dict(json.loads(line) for line in marked)
    left = [name for name in names if name not in answers]
    if left:
        answers[left[0]] = {"error": error}
        answers |= try_imports(left[1:], timeout) if left[1:] else {}
    return answers


def _text(output: bytes | str | None) -> str:
    """What a process wrote before its time was up; Python gives it as bytes even where text was asked for."""
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def cache_home() -> Path:
    """The folder for caches: `WORLDJEPA_HOME`, or `~/.cache/worldjepa`."""
    given = os.environ.get("WORLDJEPA_HOME")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "worldjepa"


def _free_gib(folder: Path) -> float:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 2**30


def _cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it, and it knows what the process may use
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def cpu_limit(file: Path) -> float | None:
    """The number of processors that a control group may use at once, from its `cpu.max`; None without a limit."""
    if not file.is_file():
        return None
    quota, period = file.read_text(encoding="ascii").split()
    return None if quota == "max" else int(quota) / int(period)


def _configs() -> str | None:
    from worldjepa.cli.compose import config_folder

    try:
        return str(config_folder())
    except UserError:  # a finding like any other
        return None


def _modalities() -> tuple[str, ...]:
    spec = importlib.util.find_spec("modalities")
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    names = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    return tuple(sorted(name for name in names if not name.startswith(("_", "."))))
