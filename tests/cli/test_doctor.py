"""The doctor on installations that are broken in known ways."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from worldjepa.cli import facts as gathering
from worldjepa.cli import main
from worldjepa.cli.diagnosis import Finding, diagnose
from worldjepa.cli.facts import Facts, cache_home, cpu_limit, try_imports

GOOD = Facts(
    python=(3, 11, 7),
    versions={
        "torch": "2.11.0",
        "torchvision": "0.26.0",
        "torchaudio": "2.11.0",
        "timm": "1.0.31",
        "hydra-core": "1.3.8",
        "lightning-fabric": "2.6.6",
        "decord": "0.6.0",
        "av": "15.0",
        "soundfile": "0.13",
    },
    import_errors={},
    cuda_build="13.0",
    cuda=(("A big one", 80.0),),
    cpus=8,
    home="home",
    free_gib=100.0,
    configs="configs",
    modalities=("image",),
)


def found(level: str, **changes: object) -> dict[str, Finding]:
    """The findings of a level for the good installation with some facts changed, by what they are about."""
    findings = diagnose(dataclasses.replace(GOOD, **changes))  # type: ignore[arg-type]
    return {finding.what: finding for finding in findings if finding.level == level}


def versions(**changes: str | None) -> dict[str, str]:
    merged = {**GOOD.versions, **{name.replace("_", "-"): version for name, version in changes.items()}}
    return {name: version for name, version in merged.items() if version is not None}


def test_a_good_installation() -> None:
    assert found("FAIL") == {}
    assert found("warn") == {}
    assert found("ok")["cuda:0"].message == "A big one, 80 GiB"


@pytest.mark.parametrize(
    "error",
    [
        "RuntimeError: operator torchvision::nms does not exist",
        "OSError: /x/_torchaudio.so: undefined symbol: _ZN3c10",
        "OSError: libcudart.so.13: cannot open shared object file: No such file or directory",
    ],
)
@pytest.mark.parametrize("name", ["torchvision", "torchaudio"])
def test_cuda_companion_beside_a_torch_without_cuda(name: str, error: str) -> None:
    finding = found(
        "FAIL", versions=versions(torch="2.11.0+cpu"), cuda_build=None, cuda=(), import_errors={name: error}
    )[name]
    assert "built without CUDA" in finding.message
    assert "same package index" in finding.message
    assert error in finding.message
    assert "'torch==2.11.*' 'torchvision==0.26.*' 'torchaudio==2.11.*'" in finding.remedy


def test_companion_of_another_torch() -> None:
    errors = {"torchvision": "RuntimeError: operator torchvision::nms does not exist"}
    finding = found("FAIL", versions=versions(torch="2.12.1"), import_errors=errors)["torchvision"]
    assert "another torch than 2.12.1" in finding.message
    assert "'torch==2.12.*' 'torchvision==0.27.*' 'torchaudio==2.11.*'" in finding.remedy
    assert "torchvision" in found("warn", versions=versions(torch="2.12.1"))


def test_companion_that_fails_otherwise() -> None:
    finding = found("FAIL", import_errors={"torchaudio": "ImportError: something else"})["torchaudio"]
    assert "something else" in finding.message


def test_torch_that_torchaudio_cannot_follow() -> None:
    finding = found("FAIL", versions=versions(torch="2.15.0"))["torch with torchaudio"]
    assert "torchaudio ended at 2.11" in finding.message
    assert "'torch==2.13.*' 'torchvision==0.28.*'" in finding.remedy


def test_torch_that_does_not_load() -> None:
    errors = {"torch": "OSError: libc10.so: file too short", "torchvision": "x", "torchaudio": "x"}
    assert "file too short" in found("FAIL", import_errors=errors)["torch"].message
    assert set(found("FAIL", import_errors=errors)) == {"torch"}
    assert "pip install" in found("FAIL", versions=versions(torch=None))["torch"].remedy


@pytest.mark.parametrize("name", ["lightning_fabric", "lightning", "pytorch_lightning"])
@pytest.mark.parametrize("version", ["2.6.2", "2.6.3"])
def test_malicious_releases(name: str, version: str) -> None:
    finding = found("FAIL", versions=versions(**{name: version}))[name.replace("_", "-")]
    assert "malicious" in finding.message
    assert ">=2.6.4" in finding.remedy


@pytest.mark.parametrize("name", ["timm", "hydra_core", "lightning_fabric"])
def test_missing_packages_that_are_needed(name: str) -> None:
    assert "pip install" in found("FAIL", versions=versions(**{name: None}))[name.replace("_", "-")].remedy


@pytest.mark.parametrize("name", ["decord", "av", "soundfile"])
def test_missing_or_broken_decoders_are_warnings(name: str) -> None:
    assert found("warn", versions=versions(**{name: None}))[name].remedy == f"python -m pip install {name}"
    assert "boom" in found("warn", import_errors={name: "boom"})[name].message
    assert found("FAIL", import_errors={name: "boom"}) == {}


def test_the_rest() -> None:
    assert "too old" in found("FAIL", python=(3, 10, 1))["Python"].message
    assert "WORLDJEPA_HOME" in found("warn", free_gib=1.0)["disk"].remedy
    assert "option files" in found("FAIL", configs=None)
    assert "modalities" in found("FAIL", modalities=())
    assert "lets 2 run" in found("ok", cpu_limit=2.0)["processors"].message
    assert found("ok", cuda=(), mps=True)["mps"].message == "Apple GPU"
    assert "driver" in found("warn", cuda=(), nvidia_driver=True)["cuda"].message
    assert "without CUDA" in found("warn", cuda=(), cuda_build=None, nvidia_driver=True)["cuda"].message


def test_what_is_wrong_comes_with_a_remedy() -> None:
    broken = dataclasses.replace(GOOD, versions={}, configs=None, modalities=(), free_gib=0.0, python=(3, 9, 0))
    assert all(finding.remedy for finding in diagnose(broken) if finding.level != "ok")


def test_exit_codes_and_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gathering, "gather", lambda: GOOD)
    assert main(["doctor"]) == 0
    assert "ok   torch: 2.11.0 (CUDA 13.0)" in capsys.readouterr().out
    monkeypatch.setattr(gathering, "gather", lambda: dataclasses.replace(GOOD, configs=None))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAIL option files: missing" in out
    assert "-> python -m pip install" in out
    assert "1 of" in out


def test_a_module_that_breaks_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crashes.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", encoding="utf-8")
    (tmp_path / "raises.py").write_text("raise OSError('libx.so: undefined symbol: y')", encoding="utf-8")
    (tmp_path / "sleeps.py").write_text("import time; time.sleep(60)", encoding="utf-8")
    (tmp_path / "works.py").write_text("print('noise')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    answers = try_imports(["works", "crashes", "raises"], timeout=30)
    assert answers["works"] == {}
    assert "ended with code -11" in answers["crashes"]["error"]
    assert answers["raises"] == {"error": "OSError: libx.so: undefined symbol: y"}
    assert "longer than 2 s" in try_imports(["sleeps"], timeout=2)["sleeps"]["error"]


def test_facts_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, expected in (("max 100000\n", None), ("150000 100000\n", 1.5)):
        (tmp_path / "cpu.max").write_text(text, encoding="ascii")
        assert cpu_limit(tmp_path / "cpu.max") == expected
    assert cpu_limit(tmp_path / "none") is None
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path))
    assert cache_home() == tmp_path


def test_this_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLDJEPA_HOME", str(tmp_path / "not" / "yet"))
    # The compiled packages take long to load and are looked at by whoever runs the command.
    monkeypatch.setattr(gathering, "IMPORTS", ())
    facts = gathering.gather()
    assert facts.cpus >= 1
    assert facts.free_gib > 0
    assert facts.configs is not None
    assert "image" in facts.modalities
    assert {"torch", "timm", "hydra-core", "lightning-fabric"} <= set(facts.versions)
