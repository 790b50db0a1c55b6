"""A small option library, so that what the command line does is tested apart from the options that are shipped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PARTS = """
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nowhere import Unknown


class Patches:
    def __init__(self, patch: int, dim: int, channels: int = 3) -> None: ...


class ViT:
    def __init__(self, tokenizer: Patches, dim: int, depth: int, heads: int = 3, ratio: float = 4.0) -> None: ...


class Timm:
    def __init__(self, name: str, dim: int = 8, pretrained: bool = False) -> None: ...


class Blocks:
    def __init__(
        self,
        targets: int = 4,
        scale: tuple[float, float] = (0.1, 0.2),
        min_context: int = 10,
        kind: Literal["hard", "soft"] = "hard",
        other: Unknown | None = None,
    ) -> None: ...


class Random:
    def __init__(self, ratio: float = 0.7) -> None: ...


class Predictor:
    def __init__(self, encoder: ViT, grid: object, depth: int = 2, names: list[str] | None = None) -> None: ...


class Patterns:
    def __init__(self, count: int = 8, channels: int = 3) -> None: ...


class Folder:
    def __init__(self, root: str, channels: int = 3, crop: int | None = None) -> None: ...


class Films:
    def __init__(self, root: str, channels: int = 3, stride: int = 4) -> None: ...


class Table:
    def __init__(self, path: str, channels: int = 3) -> None: ...


class Loss:
    pass


class Ema:
    def __init__(self, encoder: ViT, steps: int, start: float = 0.99) -> None: ...


class Inherits(Ema):
    pass


class Anything:
    def __init__(self, known: int = 1, **others: object) -> None: ...


def make(count: int) -> Patterns: ...


not_callable = 3
"""

FILES = {
    "train.yaml": """
        defaults:
          - _self_
          - modality: image
          - data: patterns
          - arch: quickstart
          - masks: blocks
          - predictor: vit
          - target: ema
          - objective: loss
          - optim: quick
          - run: quick
          - method: ijepa
          - preset: quickstart
        seed: 0
    """,
    "modality/image.yaml": """
        tokenizer:
          _target_: toyparts.Patches
          patch: ${arch.patch}
          dim: ${arch.encoder.dim}
          channels: ${data.channels}
        usual:
          method: ijepa
          preset: quickstart
          own_preset: reference
          embedded: [patterns]
          own: [folder, table]
    """,
    "modality/film.yaml": """
        tokenizer: {_target_: toyparts.Patches, patch: "${arch.patch}", dim: "${arch.encoder.dim}"}
        usual: {method: tubes, preset: quickstart_film, own_preset: reference_film, embedded: [moving], own: [films]}
    """,
    "data/moving.yaml": "# Moving patterns.\n_target_: toyparts.Patterns\nchannels: 3\n",
    "data/films.yaml": "# Your own films.\n_target_: toyparts.Films\nroot: ???\nchannels: 3\n",
    "data/table.yaml": "# Your own pictures, listed.\n_target_: toyparts.Table\npath: ???\nchannels: 3\n",
    "method/tubes.yaml": "# @package _global_\n# Tubes.\ndefaults:\n  - override /masks: random\n",
    "preset/quickstart_film.yaml": "# @package _global_\n# Films.\ndefaults:\n  - override /data: moving\n",
    "preset/reference_film.yaml": """
        # @package _global_
        # Films at full size.
        defaults:
          - override /data: films
          - override /arch: vitb16
    """,
    "data/patterns.yaml": "# Patterns drawn as they are needed.\n_target_: toyparts.Patterns\nchannels: 3\n",
    "data/folder.yaml": "# Your own pictures.\n_target_: toyparts.Folder\nroot: ???\nchannels: 3\n",
    "arch/quickstart.yaml": """
        # Toy size.
        patch: 8
        encoder: {_target_: toyparts.ViT, tokenizer: "${modality.tokenizer}", dim: 96, depth: 4}
    """,
    "arch/vith14.yaml": """
        patch: 14
        encoder: {_target_: toyparts.ViT, tokenizer: "${modality.tokenizer}", dim: 1280, depth: 32}
    """,
    "arch/vitb16.yaml": """
        patch: 16
        encoder: {_target_: toyparts.ViT, tokenizer: "${modality.tokenizer}", dim: 768, depth: 12}
    """,
    "arch/timm.yaml": """
        patch: 16
        encoder: {_target_: toyparts.Timm, name: "???", dim: 8}
    """,
    "masks/blocks.yaml": "_target_: toyparts.Blocks\ntargets: 4\n",
    "masks/random.yaml": "_target_: toyparts.Random\nratio: 0.7\n",
    "predictor/vit.yaml": "_target_: toyparts.Predictor\ndepth: 2\n",
    "target/ema.yaml": "_target_: toyparts.Ema\nstart: 0.99\n",
    "objective/loss.yaml": "_target_: toyparts.Loss\n",
    "optim/quick.yaml": "lr: 1e-3\nwarmup_steps: 2\n",
    "optim/full.yaml": "lr: 1e-3\nwarmup_epochs: 2\nbetas: [0.9, 0.95]\n",
    "run/quick.yaml": "steps: 10\nbatch_size: 4\n",
    "run/full.yaml": "epochs: 2\nbatch_size: 4\n",
    "method/ijepa.yaml": "# @package _global_\n#\n# Blocks.\ndefaults:\n  - override /masks: blocks\n",
    "preset/quickstart.yaml": "# @package _global_\ndefaults:\n  - override /arch: quickstart\n",
    "preset/reference.yaml": """
        # @package _global_
        # Full size.
        defaults:
          - override /arch: vith14
          - override /optim: full
          - override /run: full
    """,
}


def write(folder: Path, files: dict[str, str]) -> None:
    """Write option files, taking away the margin that the triple quotes above bring."""
    import textwrap

    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The module `toyparts`, importable while the test runs."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "toyparts.py").write_text(PARTS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    yield
    sys.modules.pop("toyparts", None)


@pytest.fixture
def toy(parts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small option library that the command line takes for the package's own."""
    folder = tmp_path / "checkout" / "configs"
    write(folder, FILES)
    # Not `config_folder` itself: a module that is first imported meanwhile would keep the replacement for good.
    monkeypatch.setattr("worldjepa.cli.compose.__file__", str(tmp_path / "checkout/worldjepa/cli/compose.py"))
    return folder


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
