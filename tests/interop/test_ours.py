"""Our own runs and folders, and runs that start from weights of others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from train.toy import TINY, tensors, train

import worldjepa
from interop.toys import DEPTH, HEADS, HIDDEN, PATCH, PIXELS, SIDE, WIDTH, encoder, images, predictor, save_official
from worldjepa.cli import main
from worldjepa.errors import UserError
from worldjepa.interop.export import export


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_official(tmp_path_factory.mktemp("official") / "IN1K-toy.pth.tar")


def grey(count: int = 2) -> torch.Tensor:
    return torch.randint(256, (count, 1, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize(("which", "prefix"), [("target_encoder", "target.encoder."), ("encoder", "encoder.")])
def test_a_run_and_its_checkpoints(which: str, prefix: str, finished: Path) -> None:
    model = worldjepa.load(finished, which=which)
    saved = load_file(finished / "checkpoints" / "step-00000006" / "model.safetensors")
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, saved[prefix + name])
    assert model.predictor is not None
    for name, value in model.predictor.state_dict().items():
        assert torch.equal(value, saved[f"predictor.{name}"])
    assert model.facts["steps"] == 6
    assert model.facts["image"] == (1, 32, 32)
    earlier = worldjepa.load(finished / "checkpoints" / "step-00000003", which=which)
    assert earlier.facts["steps"] == 3
    assert not torch.equal(earlier.encode(grey()).x, model.encode(grey()).x)
    with pytest.raises(UserError, match="says itself how it is built: leave arch and heads out"):
        worldjepa.load(finished, heads=2)


def test_a_run_predicts(finished: Path) -> None:
    model = worldjepa.load(finished)
    context = torch.arange(20).expand(2, -1)
    target = torch.arange(20, 64).view(1, 4, 11).expand(2, -1, -1)
    tokens = model.predict(grey(), context, target)
    assert tokens.x.shape == (2, 4, 11, 24)
    assert torch.equal(tokens.pos[0, 0, 0], torch.tensor([0.0, 2.0, 4.0]))


@pytest.mark.parametrize("origin", ["file", "finished"])
def test_save_and_load_again(origin: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(origin)
    model = worldjepa.load(path, heads=HEADS if origin == "file" else None)
    folder = worldjepa.save(model, tmp_path / "deep" / "model")
    assert sorted(one.name for one in folder.iterdir()) == ["config.json", "model.safetensors"]
    again = worldjepa.load(folder)
    assert again.facts == {**model.facts, "layout": "worldjepa", "image": model.facts["image"]}
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    pictures = images() if origin == "file" else grey()
    assert torch.equal(again.encode(pictures).x, model.encode(pictures).x)
    with pytest.raises(UserError, match="is there already"):
        worldjepa.save(model, folder)


def test_a_saved_folder_with_a_tensor_less_or_more(file: Path, tmp_path: Path) -> None:
    folder = worldjepa.save(worldjepa.load(file, heads=HEADS), tmp_path / "m")
    whole = load_file(folder / "model.safetensors")
    save_file({n: v for n, v in whole.items() if n != "encoder.norm.bias"}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"1 missing: norm\.bias"):
        worldjepa.load(folder)
    save_file({**whole, "encoder.more": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"1 left over: more"):
        worldjepa.load(folder)


def test_a_run_goes_to_transformers_and_timm(finished: Path, tmp_path: Path) -> None:
    import timm
    from transformers import IJepaModel

    for layout in ("hf", "timm"):
        assert main(["export", f"checkpoint={finished}", f"format={layout}", f"out={tmp_path / layout}"]) == 0
    pictures = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = worldjepa.load(finished).encode(pictures).x.detach()
    with torch.no_grad():
        hf = IJepaModel.from_pretrained(tmp_path / "hf").eval()(pictures).last_hidden_state
        of_timm = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval().forward_features(pictures)
    torch.testing.assert_close(hf, wanted, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(of_timm, wanted, atol=1e-5, rtol=0.0)


# --- run.init_from --------------------------------------------------------------------------------------------------

FITS = [
    *(f"data.size={PIXELS}", "data.channels=3", f"arch.patch={PATCH}", f"arch.dim={WIDTH}", "masks.min_context=2"),
    *(f"arch.encoder.depth={DEPTH}", f"arch.encoder.heads={HEADS}", f"arch.encoder.mlp_ratio={HIDDEN / WIDTH}"),
    *("arch.predictor.dim=24", "arch.predictor.depth=2", f"arch.predictor.heads={HEADS}", "run.save_every=1"),
]


def begin(out: Path, path: Path, *words: str) -> int:
    """Start from some weights and move them by next to nothing."""
    still = ("optim.lr=1e-12", "optim.start_lr=1e-12", "optim.final_lr=0", "run.steps=1")
    return train(out, *FITS, *still, f"run.init_from={path}", *words)


def test_training_goes_on_from_an_official_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert begin(tmp_path / "run", file) == 0
    assert "CC BY-NC 4.0" in capsys.readouterr().err
    found = tensors(tmp_path / "run", "step-00000001")
    for prefix, seed in (("encoder", 7), ("target.encoder", 0)):
        for name, value in encoder(seed).items():
            if name != "pos_embed":
                ours = found[f"{prefix}.{name.replace('patch_embed', 'tokenizer')}"]
                torch.testing.assert_close(ours, value, atol=3e-2 if prefix.startswith("target") else 1e-6, rtol=0)
    for name, value in predictor().items():
        if not name.endswith("pos_embed"):
            torch.testing.assert_close(found[f"predictor.{name}"], value, atol=1e-6, rtol=0)


def test_training_goes_on_from_every_other_layout(file: Path, tmp_path: Path) -> None:
    model = worldjepa.load(file, heads=HEADS)
    for layout in ("hf", "timm", "worldjepa"):
        export(model, layout, tmp_path / layout)
        assert begin(tmp_path / f"from {layout}", tmp_path / layout) == 0
        found = tensors(tmp_path / f"from {layout}", "step-00000001")
        wanted = encoder()["blocks.1.mlp.fc1.weight"]
        torch.testing.assert_close(found["encoder.blocks.1.mlp.fc1.weight"], wanted, atol=1e-6, rtol=0)
        torch.testing.assert_close(found["target.encoder.blocks.1.mlp.fc1.weight"], wanted, atol=1e-6, rtol=0)
        same = torch.allclose(found["predictor.mask_token"], predictor()["mask_token"], atol=1e-6)
        assert same == (layout == "worldjepa")


def test_training_goes_on_from_a_run(finished: Path, tmp_path: Path) -> None:
    assert main(["train", *TINY, f"run.out={tmp_path / 'run'}", f"run.init_from={finished}", "run.steps=2"]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["arch.encoder.depth=1"], "left over: blocks.1."),
        (["arch.encoder.depth=3"], "missing: blocks.2."),
        (["arch.encoder.mlp_ratio=2"], "of another shape: blocks.0.mlp.fc1.weight"),
        (["arch.predictor.depth=1"], "(predictor): its tensors do not fit"),
    ],
)
def test_a_model_that_does_not_fit(
    words: list[str], told: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert begin(tmp_path / "run", file, *words) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_heads_of_a_saved_folder_must_be_the_models(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = worldjepa.save(worldjepa.load(file, heads=HEADS), tmp_path / "m")
    assert begin(tmp_path / "run", folder, "arch.encoder.heads=2") == 2
    assert f"has {HEADS} attention heads, the model 2" in capsys.readouterr().err


def test_a_trained_position_code_needs_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = {**encoder(), "pos_embed": encoder()["pos_embed"] + 0.1}
    save_file(strange, tmp_path / "w.safetensors")
    assert begin(tmp_path / "run", tmp_path / "w.safetensors") == 2
    assert "is not the sine-cosine code that this model computes" in capsys.readouterr().err
    table = f"{{_target_: worldjepa.nn.positions.Table, height: {SIDE}, width: {SIDE}, dim: {WIDTH}}}"
    assert begin(tmp_path / "run", tmp_path / "w.safetensors", f"arch.encoder.positions={table}") == 0
    found = tensors(tmp_path / "run", "step-00000001")
    assert torch.equal(found["encoder.positions.table"], strange["pos_embed"][0])


# --- eval -----------------------------------------------------------------------------------------------------------

FEW = ["data=shapes", f"data.size={PIXELS}", "data.count=40", "probe.max_train=30", "probe.max_test=40"]
NO_PROBES = "probe.enabled=false"


def test_eval_of_released_weights(file: Path, tmp_path: Path) -> None:
    words = [f"checkpoint={file}", f"heads={HEADS}", *FEW, f"out={tmp_path / 'e.json'}", "run.accelerator=cpu"]
    assert main(["eval", *words]) == 0
    scores = json.loads((tmp_path / "e.json").read_text())["scores"]
    assert list(scores) == ["chance", "raw input", "untrained encoder", "trained encoder"]
    assert scores["trained encoder"] != scores["untrained encoder"]
    folder = worldjepa.save(worldjepa.load(file, heads=HEADS), tmp_path / "m")
    assert (
        main(["eval", f"checkpoint={folder}", *FEW, f"out={tmp_path / 'f.json'}", "run.accelerator=cpu", NO_PROBES])
        == 0
    )
    again = json.loads((tmp_path / "f.json").read_text())["scores"]["trained encoder"]
    assert set(again) == {"collapse/rankme", "collapse/feature_std"}


def test_eval_takes_the_size_of_the_model(file: Path, tmp_path: Path) -> None:
    words = [f"checkpoint={file}", f"heads={HEADS}", "data=shapes", *FEW[2:], "run.accelerator=cpu", NO_PROBES]
    assert main(["eval", *words, f"out={tmp_path / 'e.json'}"]) == 0


def test_eval_needs_data_and_only_known_words(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", f"checkpoint={file}", f"heads={HEADS}"]) == 2
    assert "brings no data with it: give data.root=FOLDER" in capsys.readouterr().err
    assert main(["eval", f"checkpoint={file}", "head=4"]) == 2
    assert "key 'head' is not one of eval's (did you mean 'heads'?)" in capsys.readouterr().err
    assert main(["eval", f"checkpoint={file}", "heads=x", *FEW]) == 2
    assert "heads=x: must be a whole number" in capsys.readouterr().err
