"""Mistakes on the command line: exit code 2, one line with the mistake and the nearest right name, nothing written."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from worldjepa.cli import main
from worldjepa.errors import UserError
from worldjepa.interop.sizes import Ask

from .conftest import write

MISTAKES = {
    # what is typed: what the answer must say
    "train modalty=image": ["'modalty'", "'modality'"],
    "train arch=vith41": ["'vith41'", "did you mean 'vith14'", "quickstart"],
    "train arch=vit_large": ["vitl16", "vitb16"],
    "train arch=[vith14,nope]": ["'nope'"],
    "train arch=null": ["arch=null", "vith14"],
    "train arch=": ["arch", "vith14"],
    "train ~arch": ["'arch' cannot be taken away"],
    "train masks={ratio:1}": ["'masks' takes the name of an option"],
    "train arch.encoder.dept=3": ["'arch.encoder.dept'", "did you mean 'arch.encoder.depth'"],
    "train arch.encoder.nothing=3": ["'arch.encoder.nothing'", "depth, dim, heads"],
    "train arch.depth=6": ["did you mean 'arch.encoder.depth'"],
    "train depth=6": ["'depth'", "'arch.encoder.depth'"],
    "train encoder.depth=6": ["'encoder.depth'", "did you mean 'arch.encoder.depth'"],
    "train run.max_steps=3": ["'run.max_steps'", "did you mean 'run.steps'"],
    "train run.stepps=3": ["did you mean 'run.steps'"],
    "train optim.wd=3": ["did you mean 'optim.weight_decay'"],
    "train masks.min_contex=5": ["did you mean 'masks.min_context'"],
    "train +foo=1": ["'foo'"],
    "train ++foo.bar=1": ["'foo.bar'"],
    "train +arch.foo=1": ["'arch.foo'"],
    "train ~seeed": ["'seeed'", "'seed'"],
    "train arch.encoder.dim.x=2": ["'arch.encoder.dim.x'"],
    "train --max_steps 3": ["key=value", "'run.steps=3'"],
    "train --run.max_steps=3": ["key=value", "'run.steps=3'"],
    "train --steps=3": ["key=value", "'run.steps=3'"],
    "train --learning-rate 0.1": ["'optim.lr=0.1'"],
    "train --batch-size run.steps=3": ["'run.batch_size=VALUE'"],
    "train --": ["key=value"],
    "train steps": ["key=value", "'run.steps=VALUE'"],
    "train vith14": ["key=value", "did you mean 'arch=vith14'"],
    "train =3": ["'=3'"],
    "train run.out=/a/epoch=3": ["cannot read", "run.out='/a/epoch=3'"],
    "train arch.encoder.depth=[1": ["cannot read"],
    "train seed=1,2": ["sweeps", "[1,2]"],
    "train -m seed=1": ["not supported yet", "shell loop"],
    "train --multirun": ["not supported yet"],
    "train arch@other=vith14": ["'arch@other=vith14'"],
    "train hydra.run.dir=x": ["run.out=DIR"],
    "train hydra.searchpath=[x]": ["--config-dir"],
    "train arch.encoder.dim=${nope}": ["modality.tokenizer.dim", "'nope'"],
    "train arch.encoder.dim=${arch.encodr.depth}": ["arch.encodr", "did you mean 'arch.encoder"],
    "train arch.encoder.dim=ten": ["arch.encoder.dim=ten", "must be int", "used as modality.tokenizer.dim"],
    "train arch.encoder.dim=1.5": ["must be int"],
    "train masks.kind=harf": ["masks.kind=harf", "'hard' or 'soft'"],
    "train masks.scale=[1]": ["masks.scale", "list of 2"],
    "train run.steps=0": ["run.steps=0", "greater than 0"],
    "train run.steps=ten": ["run.steps=ten", "int or null"],
    "train run.steps=null": ["run.steps or run.epochs"],
    "train run.steps=2 run.epochs=2": ["given together", "run.epochs=null"],
    "train run.precision=fp16": ["run.precision=fp16", "'bf16-mixed'"],
    "train run.keep=0": ["run.keep=0"],
    "train seed=-1": ["seed=-1"],
    "train seed=x": ["seed=x"],
    "train data=folder": ["data.root has no value yet: give data.root=VALUE"],
    "train data=folder data.roots=x": ["did you mean 'data.root'"],
    "train --config-dir nope": ["--config-dir 'nope' is not there"],
    "train --config-dir": ["--config-dir needs a value"],
    "train --cfg all": ["--cfg job"],
    "config data=folder --resolve": ["data.root has no value yet"],
    "trian": ["'trian'", "did you mean 'train'"],
    "run.steps=3": ["a verb comes first", "worldjepa train run.steps=3"],
    "list archh": ["'archh'", "did you mean 'arch'"],
    "list arch data": ["one name at most"],
    "doctor please": ["doctor takes no words"],
    "eval": ["checkpoint=PATH"],
    "eval chekpoint=x": ["did you mean 'checkpoint'"],
    "eval checkpoint=nope": ["checkpoint 'nope' is not there"],
    "eval --checkpoint x": ["key=value", "did you mean 'checkpoint'"],
    "eval word": ["key=value"],
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistake_gets_one_helpful_line(line: str, toy: Path, cwd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert "hydra.cc" not in err
    for said in MISTAKES[line]:
        assert said in err
    assert list(cwd.iterdir()) == []


def test_nearest_paths_are_named(toy: Path, cwd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cwd / "outputs" / "monday").mkdir(parents=True)
    assert main(["eval", "checkpoint=outputz/mondey"]) == 2
    assert "did you mean 'outputs/monday'" in capsys.readouterr().err
    assert main(["train", "--config-dir", "output"]) == 2
    assert "did you mean 'outputs'" in capsys.readouterr().err
    assert main(["eval", "outputs"]) == 2
    assert "did you mean 'checkpoint=outputs'" in capsys.readouterr().err
    assert main(["eval", "checkpoint=outputs", "out=outputs"]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert main(["eval", "checkpoint=outputs", "out=reports/x.json"]) == 2
    assert "reports" in capsys.readouterr().err
    (cwd / "file").touch()
    assert main(["train", "--config-dir", "file"]) == 2
    assert "is a file" in capsys.readouterr().err


BROKEN_FILES = {
    "data/bad.yaml": ("a: 1\nb: [1, 2\nc: 3\n", ["bad.yaml, line 3", "not valid YAML"]),
    "data/twice.yaml": ("a: 1\na: 2\n", ["twice.yaml, line 2", "duplicate key a"]),
    "data/tab.yaml": ("a:\n\tb: 1\n", ["tab.yaml, line 2"]),
    "data/brace.yaml": ("a: ${seed\n", ["cannot be composed", "a: "]),
    "data/list.yaml": ("- 1\n- 2\n", ["data=list", "`key: value` lines"]),
    "data/typo.yaml": ("_target_: toyparts.Patternz\nchannels: 3\n", ["toyparts", "did you mean 'Patterns'"]),
    "data/option.yaml": (
        "_target_: toyparts.Patterns\nchannels: 3\ncounts: 3\n",
        ["'data.counts'", "did you mean 'data.count'"],
    ),
    "preset/option.yaml": (
        "# @package _global_\ndefaults:\n  - override /arch: vith41\n",
        ["arch/vith41", "did you mean 'vith14'"],
    ),
    "preset/group.yaml": ("# @package _global_\ndefaults:\n  - override /archh: vith14\n", ["'archh'"]),
    "preset/defaults.yaml": ("# @package _global_\ndefaults: {a: b}\n", ["must be a list"]),
    "preset/top.yaml": ("# @package _global_\nruns: {steps: 3}\n", ["'runs'", "did you mean 'run'"]),
    "preset/node.yaml": ("# @package _global_\nrun: {step: 3}\n", ["'run.step'", "did you mean 'run.steps'"]),
}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_mistake_in_a_file_of_ones_own(
    name: str, toy: Path, tmp_path: Path, cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, expected = BROKEN_FILES[name]
    mine = tmp_path / "my (own), options"
    write(mine, {name: text})
    group, file = name.split("/")
    assert main(["train", f"{group}={file.removesuffix('.yaml')}", "--config-dir", str(mine)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for said in expected:
        assert said in err
    assert list(cwd.iterdir()) == []


def test_file_that_is_not_text(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "latin.yaml").write_bytes(b"a: \xff\n")
    assert main(["train", "data=latin", "--config-dir", str(tmp_path / "mine")]) == 2
    assert "UTF-8" in capsys.readouterr().err


def test_an_option_that_would_never_be_read_is_refused(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "mine", {"arch/vith14.yaml": "patch: 1\n"})
    assert main(["train", f"--config-dir={tmp_path / 'mine'}"]) == 2
    assert "would never be read" in capsys.readouterr().err


def test_keyboard_interrupt_ends_with_130(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "worldjepa.train.run", fake_module(train=interrupted))
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_error_of_ours_keeps_its_traceback(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setitem(sys.modules, "worldjepa.train.run", fake_module(train=broken))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["train"])


def test_train_hands_over_what_was_composed(toy: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setitem(sys.modules, "worldjepa.train.run", fake_module(train=lambda *given: calls.append(given) or 7))
    assert main(["train", "data.root=x", "run.steps=3"]) == 7
    ((config, run, optim, probe, overrides, notes, weights, depict),) = calls
    assert config.arch.encoder.dim == 1280
    assert (run.steps, run.epochs) == (3, None)
    assert optim.betas == (0.9, 0.95)
    assert probe.knn_k == 20
    assert overrides == ["data=folder", "preset=reference", "data.root=x", "+run.steps=3", "run.epochs=null"]
    assert len(notes) == 3
    assert callable(weights)
    assert callable(depict)
    with pytest.raises(UserError, match="drawn"):  # the toy does not say how
        depict()


def test_eval_hands_over_its_words(toy: Path, cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setitem(
        sys.modules, "worldjepa.cli.measure", fake_module(evaluate=lambda *given: calls.append(given) or 0)
    )
    (cwd / "last.ckpt").touch()
    words = ["checkpoint=last.ckpt", "out=numbers.json", "data=folder", "data.root=a=b", "probe.knn_k=3"]
    assert main(["eval", *words, "allow=mine.,yours.", "--config-dir", str(cwd)]) == 0
    assert calls == [(Path("last.ckpt"), words[2:], [cwd], Path("numbers.json"), Ask(allow=["mine.", "yours."]))]


def test_the_configuration_is_printed(toy: Path, cwd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "data.root=x", "--resolve"]) == 0
    resolved, notes = capsys.readouterr()
    assert "dim: 1280" in resolved
    assert "${" not in resolved
    assert "note: data=folder, because data.root is given" in notes
    assert main(["train", "--cfg", "job", "arch=vith14"]) == 0
    plain = capsys.readouterr().out
    assert "dim: ${arch.encoder.dim}" in plain
    assert "hydra" not in plain
    assert list(cwd.iterdir()) == []


def test_list_shows_options_and_keys(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    write(tmp_path / "mine", {"arch/mine.yaml": "# My own.\npatch: 1\n"})
    assert main(["list", "--config-dir", str(tmp_path / "mine")]) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines() if "My own." in line] == [["mine", "My", "own."]]
    assert "Full size." in out
    assert "Blocks." in out
    assert "@package" not in out
    assert main(["list", "arch"]) == 0
    out = capsys.readouterr().out
    assert "vith14" in out
    assert "patterns" not in out
    assert main(["list", "keys"]) == 0
    out = capsys.readouterr().out
    assert ["arch.encoder.depth", "4"] in [line.split() for line in out.splitlines()]


@pytest.mark.parametrize("verb", ["train", "eval", "list", "config", "doctor"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: worldjepa {verb}")


def test_in_a_real_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "worldjepa"]
    for words in (["train", "modalty=image"], ["config", "--max_steps", "3"]):
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def fake_module(**names: object) -> types.ModuleType:
    module = types.ModuleType("fake")
    vars(module).update(names)
    return module
