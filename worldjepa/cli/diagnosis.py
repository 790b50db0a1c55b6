"""What the facts of an installation mean, and what to do. Pure, so that broken installations can be tested."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from worldjepa.cli.facts import Facts

Level = Literal["ok", "warn", "FAIL"]

_MISMATCH = re.compile(
    r"torchvision::nms does not exist|undefined symbol|libcudart|libtorch|libc10|could not load this library"
    r"|different CUDA|DLL load failed|Symbol not found",
    re.IGNORECASE,
)
_BAD_LIGHTNING = ("2.6.2", "2.6.3")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    level: Level
    what: str
    message: str
    remedy: str = ""
    """The command that mends it; empty where nothing needs mending."""


def diagnose(facts: Facts) -> list[Finding]:
    """Judge the facts, in the order in which trouble is best mended."""
    checks = (
        _python,
        _torch,
        _companions,
        _torchaudio_end,
        _needed,
        _lightning,
        _decoders,
        _devices,
        _disk,
        _own_files,
    )
    return [finding for check in checks for finding in check(facts)]


def _python(facts: Facts) -> Iterator[Finding]:
    version = ".".join(map(str, facts.python))
    if facts.python < (3, 11, 0):
        yield Finding("FAIL", "Python", f"{version} is too old, 3.11 or newer is needed", "uv venv --python 3.11")
    else:
        yield Finding("ok", "Python", version)


def _torch(facts: Facts) -> Iterator[Finding]:
    version = facts.versions.get("torch")
    if version is None:
        yield Finding("FAIL", "torch", "not installed", _together("2.11"))
    elif "torch" in facts.import_errors:
        yield Finding("FAIL", "torch", f"{version} does not load: {facts.import_errors['torch']}", _together(version))
    else:
        build = f"CUDA {facts.cuda_build}" if facts.cuda_build else "without CUDA"
        yield Finding("ok", "torch", f"{version} ({build})")


def _companions(facts: Facts) -> Iterator[Finding]:
    """torchvision and torchaudio hold compiled code that fits one build of PyTorch only."""
    torch = facts.versions.get("torch", "2.11")
    for name in ("torchvision", "torchaudio"):
        version = facts.versions.get(name)
        error = facts.import_errors.get(name)
        if version is None:
            yield Finding("FAIL", name, "not installed", _together(torch))
        elif error is None:
            yield _pairing(name, version, torch)
        elif "torch" in facts.import_errors:
            yield Finding("warn", name, f"{version} cannot be judged before torch loads")
        elif _MISMATCH.search(error):
            yield Finding("FAIL", name, _explain(name, version, torch, facts.cuda_build, error), _together(torch))
        else:
            yield Finding("FAIL", name, f"{version} does not load: {error}", _together(torch))


def _explain(name: str, version: str, torch: str, cuda_build: str | None, error: str) -> str:
    if cuda_build is None:
        why = f"torch {torch} is built without CUDA, and this {name} is most likely built for CUDA"
    else:
        why = f"it is built for another torch than {torch} with CUDA {cuda_build}"
    return f"{version} does not load beside torch: {why}; all three must come from the same package index ({error})"


def _pairing(name: str, version: str, torch: str) -> Finding:
    fits = _release(version) == _companion(name, torch)
    if name == "torchvision" and not fits:
        wanted = ".".join(map(str, _companion(name, torch)))
        return Finding(
            "warn", name, f"{version} loads, but torch {torch} belongs with {name} {wanted}", _together(torch)
        )
    return Finding("ok", name, version)


def _torchaudio_end(facts: Facts) -> Iterator[Finding]:
    torch = facts.versions.get("torch")
    if torch is not None and "torchaudio" in facts.versions and _release(torch) >= (2, 14):
        yield Finding(
            "FAIL",
            "torch with torchaudio",
            f"torchaudio ended at 2.11 and works beside torch 2.11 to 2.13, not {torch}",
            _together("2.13"),
        )


def _needed(facts: Facts) -> Iterator[Finding]:
    for name in ("timm", "hydra-core", "lightning-fabric"):
        version = facts.versions.get(name)
        if version is None:
            yield Finding("FAIL", name, "not installed", f"python -m pip install {name}")
        elif name != "lightning-fabric" or version not in _BAD_LIGHTNING:
            yield Finding("ok", name, version)


def _lightning(facts: Facts) -> Iterator[Finding]:
    for name in ("lightning-fabric", "lightning", "pytorch-lightning"):
        version = facts.versions.get(name)
        if version in _BAD_LIGHTNING:
            yield Finding(
                "FAIL",
                name,
                f"{version} was a malicious release: replace it, and change every password and token on this machine",
                f"python -m pip install --force-reinstall '{name}>=2.6.4'",
            )


def _decoders(facts: Facts) -> Iterator[Finding]:
    for name, use in (("decord", "reads video"), ("av", "reads video"), ("soundfile", "reads sound")):
        version = facts.versions.get(name)
        error = facts.import_errors.get(name)
        if version is None:
            yield Finding("warn", name, f"not installed ({use}; optional)", f"python -m pip install {name}")
        elif error:
            remedy = f"python -m pip install --force-reinstall {name}"
            yield Finding("warn", name, f"{version} does not load ({use}; optional): {error}", remedy)
        else:
            yield Finding("ok", name, f"{version} ({use})")


def _devices(facts: Facts) -> Iterator[Finding]:
    limit = facts.cpu_limit
    if limit is not None and limit < facts.cpus:
        message = f"{facts.cpus}, of which the control group lets {limit:g} run at once"
        yield Finding("ok", "processors", message)
    else:
        yield Finding("ok", "processors", str(facts.cpus))
    for index, (name, memory) in enumerate(facts.cuda):
        yield Finding("ok", f"cuda:{index}", f"{name}, {memory:.0f} GiB")
    if facts.mps:
        yield Finding("ok", "mps", "Apple GPU")
    if facts.nvidia_driver and not facts.cuda and "torch" in facts.versions and "torch" not in facts.import_errors:
        build = (
            f"built for CUDA {facts.cuda_build}, which the driver may be too old for"
            if facts.cuda_build
            else "without CUDA"
        )
        yield Finding(
            "warn", "cuda", f"there is an NVIDIA driver, but torch (a build {build}) sees no device", "nvidia-smi"
        )


def _disk(facts: Facts) -> Iterator[Finding]:
    message = f"{facts.free_gib:.1f} GiB free at {facts.home}"
    if facts.free_gib < 5:
        yield Finding("warn", "disk", message, "export WORLDJEPA_HOME=/a/folder/with/more/space")
    else:
        yield Finding("ok", "disk", message)


def _own_files(facts: Facts) -> Iterator[Finding]:
    again = "python -m pip install --force-reinstall --no-deps worldjepa"
    if facts.configs is None:
        yield Finding("FAIL", "option files", "missing", again)
    else:
        yield Finding("ok", "option files", facts.configs)
    if not facts.modalities:
        yield Finding(
            "FAIL", "modalities", "none found: the package is damaged, or hidden by another called `modalities`", again
        )
    else:
        yield Finding("ok", "modalities", ", ".join(facts.modalities))


def _release(version: str) -> tuple[int, int]:
    """Major and minor number: `2.11.0+cpu` is (2, 11)."""
    numbers = re.findall(r"\d+", version)
    return int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 0


def _companion(name: str, torch: str) -> tuple[int, int]:
    """The release that belongs with a torch: torchvision 0.26 came with 2.11 and both count on."""
    minor = _release(torch)[1]
    return (0, minor + 15) if name == "torchvision" else (2, min(minor, 11))


def _together(torch: str) -> str:
    """The command that installs the three so that they fit."""
    major, minor = _release(torch)
    minor = min(max(minor, 11), 13)
    vision, audio = (".".join(map(str, _companion(name, f"{major}.{minor}"))) for name in ("torchvision", "torchaudio"))
    wanted = f"'torch=={major}.{minor}.*' 'torchvision=={vision}.*' 'torchaudio=={audio}.*'"
    return f"python -m pip install --force-reinstall {wanted}  # all three from one place"
