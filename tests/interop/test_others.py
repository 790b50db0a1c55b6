"""Hugging Face's and timm's layouts, against the real libraries, in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import worldjepa
from interop.toys import DEPTH, HEADS, HIDDEN, PATCH, PIXELS, SIDE, WIDTH, encoder, images, save_official
from worldjepa.errors import UserError
from worldjepa.interop.export import export

CLOSE = {"atol": 1e-5, "rtol": 0.0}
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": HIDDEN,
    "patch_size": PATCH,
    "image_size": PIXELS,
}


def hf(**words: Any) -> Any:
    """A random `IJepaModel` of transformers."""
    from transformers import IJepaConfig, IJepaModel

    torch.manual_seed(1)
    model = IJepaModel(IJepaConfig(**{**SIZES, **words})).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers writes it, and what the model makes of some images."""
    folder = tmp_path_factory.mktemp("hf") / "model"
    hf(layer_norm_eps=1e-6).save_pretrained(folder)
    return folder


def answers(model: Any, pictures: Tensor, **words: Any) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(pictures, **words).last_hidden_state
        return out


@pytest.mark.parametrize("eps", [1e-12, 1e-6, 1e-3])
def test_transformers_folder(eps: float, tmp_path: Path) -> None:
    model = hf(layer_norm_eps=eps)
    model.save_pretrained(tmp_path / "m")
    ours = worldjepa.load(tmp_path / "m")
    torch.testing.assert_close(ours.encode(images()).x.detach(), answers(model, images()), **CLOSE)
    assert ours.facts["image"] == (3, PIXELS, PIXELS)
    assert ours.predictor is None
    with pytest.raises(UserError, match=r"\(Hugging Face\) hold an encoder only"):
        ours.predict(images(), torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1, 1, dtype=torch.int64))


def test_transformers_interpolates_as_we_do(folder: Path) -> None:
    from transformers import IJepaModel

    pictures = images(side=PATCH * 9)
    wanted = answers(IJepaModel.from_pretrained(folder).eval(), pictures, interpolate_pos_encoding=True)
    torch.testing.assert_close(worldjepa.load(folder).encode(pictures).x.detach(), wanted, **CLOSE)


def test_both_generations_of_names(folder: Path, tmp_path: Path) -> None:
    from transformers import IJepaModel

    assert "encoder.layer.0.attention.attention.query.weight" in load_file(folder / "model.safetensors")
    renamed = {f"ijepa.{name}": value for name, value in IJepaModel.from_pretrained(folder).state_dict().items()}
    assert "ijepa.layers.0.attention.q_proj.weight" in renamed
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.save(renamed, tmp_path / "pytorch_model.bin")
    new, old = worldjepa.load(tmp_path), worldjepa.load(folder)
    assert torch.equal(old.encode(images()).x, new.encode(images()).x)


def test_transformers_shards_and_half_precision(tmp_path: Path) -> None:
    model = hf(layer_norm_eps=1e-6).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "m", max_shard_size="20KB")
    assert len(list((tmp_path / "m").glob("model-*.safetensors"))) > 1
    ours = worldjepa.load(tmp_path / "m")
    torch.testing.assert_close(ours.encode(images()).x.detach(), answers(model.float(), images()), **CLOSE)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"num_attention_heads": 5}, "does not divide among heads=5"),
        ({"num_attention_heads": -1}, "num_attention_heads=-1, which is not a whole number"),
        ({"num_attention_heads": 10**30}, "which is not a whole number from 1 to"),
        ({"num_attention_heads": {"a": 1}}, "is not a whole number"),
        ({"num_hidden_layers": 3}, "says num_hidden_layers=3, the tensors 2"),
        ({"layer_norm_eps": "1"}, "layer_norm_eps=1, which is not a number"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps=nan, which is not a number"),
        ({"hidden_act": "relu"}, "hidden_act=relu, but I-JEPA has gelu"),
        ({"qkv_bias": False}, "qkv_bias=False, but I-JEPA has True"),
        ({"model_type": "vjepa9"}, "none of the layouts .*model_type=vjepa9"),
    ],
)
def test_strange_configurations(said: dict[str, Any], told: str, folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **said}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=told):
        worldjepa.load(tmp_path)


def test_a_classifier_on_top_is_left_over_and_a_gap_is_missing(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.0.attention.attention.key.bias"]
    tensors["classifier.weight"] = torch.zeros(3, WIDTH)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(
        UserError,
        match=r"1 missing: encoder\.layer\.0\.attention\.attention\.key\.bias; 1 left over: classifier\.weight",
    ):
        worldjepa.load(tmp_path)


# --- timm -----------------------------------------------------------------------------------------------------------


def timm_model(**words: Any) -> Any:
    sizes = {"img_size": PIXELS, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    torch.manual_seed(2)
    model = timm.create_model("vit_huge_patch14_gap_224", num_classes=0, mlp_ratio=3, **{**sizes, **words}).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    return model


def features(model: Any, pictures: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = model.forward_features(pictures)
        return out


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_timm_file(suffix: str, tmp_path: Path) -> None:
    model, file = timm_model(), tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(model.state_dict(), file)
    else:
        save_file(model.state_dict(), file)
    ours = worldjepa.load(file, heads=HEADS)
    torch.testing.assert_close(ours.encode(images()).x.detach(), features(model, images()), **CLOSE)
    with pytest.raises(UserError, match="do not show how many heads"):
        worldjepa.load(file)


def test_timm_folder_says_its_heads(tmp_path: Path) -> None:
    from timm.models import save_for_hf

    model = timm_model()
    arguments = {"num_heads": HEADS, "patch_size": PATCH, "img_size": [PIXELS, PIXELS]}
    save_for_hf(model, str(tmp_path), model_args=arguments)
    ours = worldjepa.load(tmp_path)
    torch.testing.assert_close(ours.encode(images()).x.detach(), features(model, images()), **CLOSE)


def test_timm_with_a_class_token_is_another_layout(tmp_path: Path) -> None:
    model = timm_model(class_token=True)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="1 left over: cls_token"):
        worldjepa.load(tmp_path / "w.safetensors", heads=HEADS)


# --- back again -----------------------------------------------------------------------------------------------------


def test_transformers_loads_what_we_export(tmp_path: Path) -> None:
    from transformers import AutoModel, IJepaModel

    model = worldjepa.load(save_official(tmp_path / "f.pth.tar"), heads=HEADS)
    export(model, "hf", tmp_path / "hf")
    theirs, report = IJepaModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    wanted = model.encode(images()).x.detach()
    torch.testing.assert_close(answers(theirs.eval(), images()), wanted, **CLOSE)
    assert type(AutoModel.from_pretrained(tmp_path / "hf")) is IJepaModel
    back = worldjepa.load(tmp_path / "hf")
    assert torch.equal(back.encode(images()).x.detach(), wanted)


def test_timm_loads_what_we_export(tmp_path: Path) -> None:
    model = worldjepa.load(save_official(tmp_path / "f.pth.tar"), heads=HEADS)
    export(model, "timm", tmp_path / "timm")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    wanted = model.encode(images()).x.detach()
    torch.testing.assert_close(features(theirs, images()), wanted, **CLOSE)
    torch.testing.assert_close(theirs(images()), wanted.mean(1), **CLOSE)
    assert torch.equal(worldjepa.load(tmp_path / "timm").encode(images()).x.detach(), wanted)


def test_exports_keep_the_terms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = worldjepa.load(save_official(tmp_path / "f.pth.tar"), heads=HEADS)
    for layout in ("hf", "timm", "worldjepa"):
        capsys.readouterr()
        worldjepa.load(export(model, layout, tmp_path / layout))
        assert "CC BY-NC 4.0" in capsys.readouterr().err
    model.facts["licence"] = None
    for layout in ("hf", "timm", "worldjepa"):
        worldjepa.load(export(model, layout, tmp_path / f"free {layout}"))
        assert capsys.readouterr().err == ""


def test_exports_that_cannot_be(tmp_path: Path) -> None:
    save_file(encoder(), tmp_path / "w.safetensors")
    model = worldjepa.load(tmp_path / "w.safetensors", heads=HEADS)
    with pytest.raises(UserError, match=r"format 'onx' .*hf, timm, worldjepa"):
        export(model, "onx", tmp_path / "x")
    hf(layer_norm_eps=1e-3).save_pretrained(tmp_path / "m")
    with pytest.raises(UserError, match=r"format=timm: its layer norms have epsilon 1e-06, those of this model 0.001"):
        export(worldjepa.load(tmp_path / "m"), "timm", tmp_path / "x")
    with pytest.raises(UserError, match="is there already"):
        export(model, "hf", tmp_path / "m")


def test_another_size_is_exported_with_its_own_code(tmp_path: Path) -> None:
    from transformers import IJepaModel

    model = worldjepa.load(save_official(tmp_path / "f.pth.tar"), heads=HEADS)
    export(model, "hf", tmp_path / "hf", size=PATCH * (SIDE + 2))
    pictures = images(side=PATCH * (SIDE + 2))
    theirs = IJepaModel.from_pretrained(tmp_path / "hf").eval()
    torch.testing.assert_close(answers(theirs, pictures), model.encode(pictures).x.detach(), **CLOSE)
