"""Composition: choices, implied choices, keys that only a constructor knows, and the options that the package ships."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from worldjepa.cli import compose
from worldjepa.cli.compose import compose_config, config_folder
from worldjepa.cli.keys import nearest_keys
from worldjepa.cli.options import description, open_library, short_name
from worldjepa.cli.paths import nearest
from worldjepa.errors import UserError

from .conftest import write

GROUPS = {
    *("modality", "data", "arch", "masks", "predictor", "target", "objective", "optim", "run", "method", "preset"),
}


def test_without_words_it_is_the_quick_start(toy: Path) -> None:
    composed = compose_config("train", [])
    assert composed.config.arch.encoder.dim == 96
    assert "hydra" not in composed.config
    assert composed.overrides == []
    assert composed.notes == []


def test_the_command_line_wins_over_a_preset(toy: Path) -> None:
    config = compose_config("train", ["preset=reference", "arch=vitb16", "run.epochs=7"]).config
    assert config.arch.encoder.dim == 768
    assert config.run.epochs == 7
    assert config.optim.warmup_epochs == 2


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_a_constructor_parameter_that_no_file_lists(toy: Path, prefix: str) -> None:
    composed = compose_config("train", [f"{prefix}masks.min_context=5"])
    assert composed.config.masks.min_context == 5
    assert composed.overrides == ["+masks.min_context=5"]


def test_parameters_of_the_chosen_option_count(toy: Path) -> None:
    assert compose_config("train", ["masks=random", "masks.ratio=0.5"]).config.masks.ratio == 0.5
    with pytest.raises(UserError, match=r"masks\.targets"):
        compose_config("train", ["masks=random", "masks.targets=5"])


def test_settings_that_no_file_lists(toy: Path) -> None:
    config = compose_config("train", ["run.clip_norm=1.0", "probe.knn_k=3", "optim.betas=[0.8,0.9]"]).config
    assert config.run.clip_norm == 1.0
    assert config.probe.knn_k == 3
    assert list(config.optim.betas) == [0.8, 0.9]


def test_an_open_constructor_takes_any_key(toy: Path, tmp_path: Path) -> None:
    write(tmp_path / "mine", {"masks/open.yaml": "_target_: toyparts.Anything\n"})
    assert compose_config("train", ["masks=open", "masks.new=1"], [tmp_path / "mine"]).config.masks.new == 1


def test_keys_can_be_taken_away_and_nodes_replaced(toy: Path) -> None:
    assert "targets" not in compose_config("train", ["~masks.targets"]).config.masks
    config = compose_config("train", ["arch.encoder={_target_:toyparts.Timm,name:x}"]).config
    assert config.arch.encoder.name == "x"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("vit_huge_patch14_224", "vith14"),
        ("vit_huge", "vith14"),
        ("vit_base", "vitb16"),
        ("vit_giant", "vitg16"),
        ("vit_tiny_patch8", "vitt8"),
        ("vit_small_patch16_448", "vits16"),
        ("vit_large_patch16_224.augreg_in21k", "vitl16"),
        ("vit_huge_patch32", None),
        ("resnet50", None),
        ("vith14", None),
    ],
)
def test_long_names_of_vision_transformers(name: str, short: str | None) -> None:
    assert short_name(name) == short


def test_long_names_choose_the_short_option(toy: Path) -> None:
    composed = compose_config("train", ["arch=vit_huge_patch14_224"])
    assert composed.overrides == ["arch=vith14"]
    assert composed.config.arch.patch == 14


def test_timm_passes_through(toy: Path) -> None:
    composed = compose_config("train", ["arch=timm:vit_small_patch16_224.augreg_in1k", "arch.encoder.pretrained=true"])
    assert composed.config.arch.encoder.name == "vit_small_patch16_224.augreg_in1k"
    assert composed.config.arch.encoder.pretrained is True


@pytest.mark.parametrize("words", [["data.root=x"], ["data=folder", "data.root=x"]])
def test_data_of_ones_own_means_full_size(toy: Path, words: list[str]) -> None:
    composed = compose_config("train", words)
    assert composed.config.data._target_ == "toyparts.Folder"
    assert composed.config.arch.encoder.dim == 1280
    assert any("preset=reference" in note for note in composed.notes)


def test_a_key_that_only_the_constructor_of_folder_knows_implies_it(toy: Path) -> None:
    assert "data=folder" in compose_config("train", ["data.crop=3"]).overrides


def test_a_key_of_the_default_data_implies_nothing(toy: Path) -> None:
    composed = compose_config("train", ["data.count=3", "data.channels=1"])
    assert composed.config.data._target_ == "toyparts.Patterns"
    assert composed.notes == []


def test_a_named_preset_stays(toy: Path) -> None:
    composed = compose_config("train", ["data.root=x", "preset=quickstart"])
    assert composed.config.arch.encoder.dim == 96
    assert composed.notes == ["data=folder, because data.root is given"]


def test_data_that_a_preset_of_ones_own_chooses(toy: Path, tmp_path: Path) -> None:
    write(
        tmp_path / "mine",
        {"preset/mine.yaml": "# @package _global_\ndefaults:\n  - override /data: folder\ndata: {root: y}\n"},
    )
    composed = compose_config("train", ["preset=mine"], [tmp_path / "mine"])
    assert composed.config.data.root == "y"
    assert composed.notes == []


def test_the_kind_of_data_follows_from_its_keys(toy: Path) -> None:
    composed = compose_config("train", ["data.path=list.csv"])
    assert composed.config.data._target_ == "toyparts.Table"
    assert composed.notes[0] == "data=table, because data.path is given"


@pytest.mark.parametrize(
    ("words", "data", "preset"),
    [
        (["modality=film"], "Patterns", "quickstart_film"),
        (["data=moving"], "Patterns", "quickstart_film"),
        (["preset=quickstart_film"], "Patterns", None),
        (["modality=film", "data.root=x"], "Films", "reference_film"),
        (["modality=film", "data.stride=2", "data.root=x"], "Films", "reference_film"),
        (["data=films", "data.root=x"], "Films", "reference_film"),
    ],
)
def test_a_modality_brings_its_method_and_preset(toy: Path, words: list[str], data: str, preset: str | None) -> None:
    composed = compose_config("train", words)
    assert composed.config.data._target_ == f"toyparts.{data}"
    assert composed.config.masks._target_ == "toyparts.Random"
    assert "usual" not in composed.config.modality
    assert "method=tubes" in composed.overrides
    assert "modality=film" in composed.overrides
    assert preset is None or f"preset={preset}" in composed.overrides
    assert composed.config.arch.encoder.dim == (768 if preset == "reference_film" else 96)
    again = compose_config("train", composed.overrides)
    assert OmegaConf.to_yaml(again.config) == OmegaConf.to_yaml(composed.config)
    assert (again.overrides, again.notes) == (composed.overrides, [])


def test_what_is_named_wins_over_what_is_usual(toy: Path) -> None:
    composed = compose_config("train", ["modality=film", "method=ijepa", "preset=quickstart", "data=patterns"])
    assert composed.config.masks._target_ == "toyparts.Blocks"
    assert composed.notes == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("usual: 3\n", "'usual' must hold"),
        ("usual: {metod: x}\n", "did you mean 'method'"),
        ("usual: {method: [x]}\n", "usual.method must be a name"),
        ("usual: {own: x}\n", "usual.own must be a list of names"),
    ],
)
def test_mistakes_in_what_is_usual(toy: Path, tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path / "mine", {"modality/mine.yaml": text})
    with pytest.raises(UserError, match=told):
        compose_config("train", ["modality=mine"], [tmp_path / "mine"])


def test_of_two_keys_that_exclude_each_other_the_given_one_wins(toy: Path) -> None:
    composed = compose_config("train", ["run.epochs=3", "optim.warmup_epochs=1"])
    assert composed.config.run.steps is None
    assert composed.config.optim.warmup_steps is None
    assert len(composed.notes) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["data.root=x", "run.steps=3"],
        ["masks.min_context=5"],
        ["arch=timm:some/model"],
        ["run.epochs=3", "~masks.targets"],
        ["data.root='/a b/c=d'", "arch=vit_base"],
    ],
)
def test_the_recorded_words_compose_to_the_same(toy: Path, words: list[str]) -> None:
    first = compose_config("train", words)
    again = compose_config("train", first.overrides)
    assert OmegaConf.to_yaml(again.config) == OmegaConf.to_yaml(first.config)
    assert again.overrides == first.overrides
    assert again.notes == []


def test_options_of_ones_own_from_several_folders(toy: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "it's one", tmp_path / "two"
    write(one, {"masks/mine.yaml": "# Mine.\n_target_: toyparts.Random\n"})
    write(two, {"masks/other/deep.yaml": "_target_: toyparts.Random\nratio: 0.1\n"})
    assert compose_config("train", ["masks=mine"], [one, two, one]).config.masks._target_ == "toyparts.Random"
    assert compose_config("train", ["masks=other/deep"], [one, two]).config.masks.ratio == 0.1
    assert description(open_library(toy, [one]).groups()["masks"]["mine"]) == "Mine."


def test_a_reference_to_a_missing_value_waits_for_validation(toy: Path, tmp_path: Path) -> None:
    write(tmp_path / "mine", {"masks/waits.yaml": "_target_: toyparts.Random\nratio: ${data.root}\n"})
    composed = compose_config("train", ["data=folder", "masks=waits"], [tmp_path / "mine"])
    with pytest.raises(UserError, match="missing"):
        compose.check_references(composed.config)


def test_nearest_keys() -> None:
    keys = ["run.steps", "run.batch_size", "optim.warmup_steps", "arch.encoder.depth", "predictor.depth"]
    assert nearest_keys("depth", keys) == ["arch.encoder.depth", "predictor.depth"]
    assert nearest_keys("max_steps", keys) == ["run.steps"]
    assert nearest_keys("run.stepz", keys) == ["run.steps"]
    assert nearest_keys("train.batchsize", keys) == ["run.batch_size"]
    assert nearest_keys("zzz", keys) == []


def test_nearest_path(tmp_path: Path) -> None:
    (tmp_path / "outputs" / "monday").mkdir(parents=True)
    assert nearest(tmp_path / "output" / "mondays") == tmp_path / "outputs" / "monday"
    assert nearest(tmp_path / "output" / "zzz") == tmp_path / "outputs"
    assert nearest(tmp_path / "zzz") is None


def test_the_shipped_groups_are_there() -> None:
    groups = open_library(config_folder(), []).groups()
    assert set(groups) >= GROUPS
    assert "image" in groups["modality"]


@pytest.mark.parametrize("preset", open_library(config_folder(), []).groups()["preset"])
def test_the_shipped_presets_compose(preset: str) -> None:
    composed = compose_config("train", [f"preset={preset}"])
    assert set(composed.config) >= {"seed", "modality", "data", "arch", "masks", "predictor", "target", "run"}


@pytest.mark.parametrize(("preset", "data"), [("reference_audio", "textures"), ("reference_video", "moving")])
def test_a_preset_without_data_gets_those_of_its_modality(preset: str, data: str) -> None:
    composed = compose_config("train", [f"preset={preset}"])
    assert f"data={data}" in composed.overrides
    assert any(note.startswith(f"data={data}, because modality=") for note in composed.notes)


def test_a_damaged_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "__file__", str(tmp_path / "worldjepa" / "cli" / "compose.py"))
    with pytest.raises(UserError, match="install the package again"):
        config_folder()


def test_what_is_composed_again_is_as_the_files_are_now(tmp_path: Path) -> None:
    """Compositions are kept for as long as no option file changes, and nobody shares what is handed out."""
    file = tmp_path / "masks" / "mine.yaml"
    file.parent.mkdir()

    def composed(ratio: str) -> DictConfig:
        file.write_text(f"_target_: worldjepa.masks.Random\nratio: {ratio}\n")
        return compose_config("train", ["masks=mine"], [tmp_path]).config

    first = composed("0.5")
    assert first.masks.ratio == 0.5
    first.masks.ratio = 0.9
    first.run.steps = 1
    again = compose_config("train", ["masks=mine"], [tmp_path]).config
    assert again.masks.ratio == 0.5
    assert again.run.steps != 1
    assert composed("0.25").masks.ratio == 0.25
