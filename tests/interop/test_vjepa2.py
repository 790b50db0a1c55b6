"""V-JEPA 2: its official files and transformers' folders, against transformers' own model, in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import worldjepa
from interop.clips import (
    FRAMES,
    PIXELS,
    SIDE,
    TIMES,
    TOKENS,
    clips,
    code,
    hf,
    hf_encode,
    hf_predict,
    official_names,
    save_vjepa2,
    subsets,
    wrapped,
)
from worldjepa.cli import main
from worldjepa.errors import UserError
from worldjepa.interop.export import export
from worldjepa.interop.sizes import VJEPA2, Ask, Shape, heads_of
from worldjepa.interop.vit import ratio_rounded_down
from worldjepa.nn.rotary import Rotary, turned

CLOSE = {"atol": 1e-5, "rtol": 0.0}
HEADS = 4


@pytest.fixture(scope="module")
def model() -> Any:
    return hf()


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf") / "model"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def file(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vjepa2(tmp_path_factory.mktemp("official") / "vitl.pt", model, hf(seed=2))


WIDTHS = [(80, 4, 96, 12), (48, 2, 36, 3), (66, 3, 28, 2), (64, 1, 64, 2), (52, 2, 30, 5)]
"""Heads of 20 and 8, 24 and 12, 22 and 14, 64 and 32, 26 and 6 features."""


@pytest.mark.parametrize(("width", "heads", "narrow", "pred_heads"), WIDTHS)
def test_transformers_folder(width: int, heads: int, narrow: int, pred_heads: int, tmp_path: Path) -> None:
    sizes = {"hidden_size": width, "num_attention_heads": heads}
    theirs = hf(**sizes, pred_hidden_size=narrow, pred_num_attention_heads=pred_heads)
    theirs.save_pretrained(tmp_path / "m")
    ours = worldjepa.load(tmp_path / "m")
    torch.testing.assert_close(ours.encode(clips()).x.detach(), hf_encode(theirs, clips()), **CLOSE)
    context, target = subsets(17, seed=1), subsets(23, seed=2)
    for token in range(4):
        wanted = hf_predict(theirs, clips(), context, target, token)
        found = ours.predict(clips(), context, target[:, None], mask_token=token).x[:, 0]
        torch.testing.assert_close(found.detach(), wanted, **CLOSE)
    assert ours.facts["image"] == (3, FRAMES, PIXELS, PIXELS)
    assert ours.facts["layout"] == "Hugging Face, V-JEPA 2"


def test_the_models_own_predictions(model: Any, folder: Path) -> None:
    """transformers hands the predictor tokens that have seen the whole clip."""
    context, target = subsets(17, seed=3), subsets(23, seed=4)
    ours = worldjepa.load(folder)
    with torch.no_grad():
        out = model(clips().transpose(1, 2), context_mask=[context], target_mask=[target])
        whole = ours.encode(clips())
        pos = whole.pos[0]
        found = ours.predictor(whole.select(context[:, None]), pos[target[:, None]], mask=1)  # type: ignore[misc]
    torch.testing.assert_close(found.x[:, 0], out.predictor_output.last_hidden_state, **CLOSE)
    torch.testing.assert_close(whole.select(context[:, None]).x[:, 0], out.masked_hidden_state, **CLOSE)


@pytest.mark.parametrize("size", range(6, 34, 2))
def test_queries_are_turned_as_transformers_does_whatever_the_width(size: int) -> None:
    attention = hf(hidden_size=size, num_attention_heads=1, num_hidden_layers=1).encoder.layer[0].attention
    x = torch.randn(2, 1, TOKENS, size, generator=torch.Generator().manual_seed(size))
    theirs = attention.apply_rotary_embeddings(x, attention.get_position_ids(x[:, 0]))
    pos = torch.cartesian_prod(*(torch.arange(float(n)) for n in (TIMES, SIDE, SIDE)))
    ours = turned(x, Rotary("thw", tiled=True).rotation(pos[None], size))
    torch.testing.assert_close(ours, theirs, **CLOSE)
    assert attention.d_dim + attention.h_dim + attention.w_dim == 6 * (size // 6)


@pytest.mark.parametrize(("frames", "side"), [(6, 24), (10, 16), (2, 12)])
def test_other_clips_need_nothing(frames: int, side: int, model: Any, file: Path) -> None:
    theirs = hf(crop_size=side, frames_per_clip=frames)
    theirs.load_state_dict(model.state_dict())
    seen = clips(frames=frames, side=side)
    ours = worldjepa.load(file, heads=HEADS)
    torch.testing.assert_close(ours.encode(seen).x.detach(), hf_encode(theirs, seen), **CLOSE)


def test_an_image_is_a_clip_of_one_frame(model: Any, folder: Path) -> None:
    image = clips(frames=1)
    ours = worldjepa.load(folder)
    wanted = hf_encode(model, image)
    torch.testing.assert_close(ours.encode(image).x.detach(), wanted, **CLOSE)
    torch.testing.assert_close(ours.encode(image[:, :, 0]).x.detach(), wanted, **CLOSE)


@pytest.mark.parametrize(("words", "seed"), [({}, 1), ({"which": "target_encoder"}, 1), ({"which": "encoder"}, 2)])
def test_official_file(words: dict[str, str], seed: int, model: Any, file: Path) -> None:
    ours, theirs = worldjepa.load(file, heads=HEADS, **words), hf(seed=seed)  # type: ignore[arg-type]
    torch.testing.assert_close(ours.encode(clips()).x.detach(), hf_encode(theirs, clips()), **CLOSE)
    assert ours.facts["layout"] == "V-JEPA 2"
    assert ours.facts["image"] is None
    theirs.predictor = model.predictor
    context, target = subsets(17, seed=1), subsets(23, seed=2)
    for token in (0, 3):
        wanted = hf_predict(theirs, clips(), context, target, token)
        found = ours.predict(clips(), context, target[:, None], mask_token=token).x[:, 0]
        torch.testing.assert_close(found.detach(), wanted, **CLOSE)


def test_a_position_code_that_is_left_in_the_file_is_not_used(model: Any, file: Path, tmp_path: Path) -> None:
    parts = official_names(model)
    with_code = {**parts["encoder"], "pos_embed": code(80)}
    narrow = {**parts["predictor"], "predictor_pos_embed": code(96)}
    left = save_vjepa2(tmp_path / "f.pt", model, target_encoder=wrapped(with_code), predictor=wrapped(narrow))
    one, other = (worldjepa.load(path, heads=HEADS) for path in (left, file))
    assert one.facts["layout"] == "V-JEPA 2"
    assert torch.equal(one.encode(clips()).x, other.encode(clips()).x)


def test_shards_and_half_precision(model: Any, tmp_path: Path) -> None:
    half = hf().to(torch.bfloat16)
    half.save_pretrained(tmp_path / "m", max_shard_size="100KB")
    assert len(list((tmp_path / "m").glob("model-*.safetensors"))) > 1
    ours = worldjepa.load(tmp_path / "m")
    torch.testing.assert_close(ours.encode(clips()).x.detach(), hf_encode(half.float(), clips()), **CLOSE)


# --- names and sizes ----------------------------------------------------------------------------------------------------

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "arch").glob("vjepa2_*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_names_of_architectures_mean_what_the_configurations_say(config: Path) -> None:
    tree = yaml.safe_load(config.read_text())
    size, patch = VJEPA2.archs[config.stem]
    hidden = round(tree["dim"] * tree["encoder"].get("mlp_ratio", 4.0))
    assert (*size, patch) == (tree["dim"], tree["encoder"]["depth"], tree["encoder"]["heads"], hidden, tree["patch"])
    shape = Shape(size.width, size.depth, size.hidden)
    assert heads_of(shape, patch, Ask(arch=config.stem), None, "f", VJEPA2) == size.heads
    assert heads_of(shape, patch, Ask(), None, "f", VJEPA2) == size.heads
    assert {one.stem for one in CONFIGS} == set(VJEPA2.archs)


def test_the_giants_are_not_mixed_up() -> None:
    shape = Shape(1408, 40, 6144)
    assert heads_of(shape, 16, Ask(), None, "f", VJEPA2) == 22
    assert heads_of(shape, 16, Ask(), None, "f") == 16
    with pytest.raises(UserError, match=r"arch 'vitg16' .*vjepa2_vitg16"):
        heads_of(shape, 16, Ask(arch="vitg16"), None, "f", VJEPA2)


@pytest.mark.parametrize(("hidden", "width"), [(6144, 1408), (4096, 1024), (5120, 1280), (108, 80), (49, 7), (1, 3)])
def test_ratios_that_are_rounded_down(hidden: int, width: int) -> None:
    assert int(width * ratio_rounded_down(hidden, width)) == hidden


# --- back again -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [1.35, 4.0, 48 / 11])
def test_transformers_loads_what_we_export(hidden: float, tmp_path: Path) -> None:
    from transformers import AutoModel, VJEPA2Model

    original = hf(mlp_ratio=hidden)
    model = worldjepa.load(save_vjepa2(tmp_path / "f.pt", original), heads=HEADS)
    export(model, "hf", tmp_path / "hf", size=PIXELS)
    theirs, report = VJEPA2Model.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    state = original.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in theirs.state_dict().items())
    torch.testing.assert_close(hf_encode(theirs.eval(), clips()), model.encode(clips()).x.detach(), **CLOSE)
    assert type(AutoModel.from_pretrained(tmp_path / "hf")) is VJEPA2Model
    back = worldjepa.load(tmp_path / "hf")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in back.state_dict().items())
    context, target = subsets(9, seed=1), subsets(4, seed=2)
    wanted = model.predict(clips(), context, target[:, None], mask_token=1).x[:, 0].detach()
    torch.testing.assert_close(hf_predict(theirs, clips(), context, target, 1), wanted, **CLOSE)


def test_a_size_must_be_known_and_fit(file: Path, folder: Path, tmp_path: Path) -> None:
    model = worldjepa.load(file, heads=HEADS)
    with pytest.raises(UserError, match="not bound to a size of clips: give size=PIXELS"):
        export(model, "hf", tmp_path / "x")
    with pytest.raises(UserError, match="cannot be cut into patches of 4"):
        export(model, "hf", tmp_path / "x", size=PIXELS + 1)
    export(worldjepa.load(folder), "hf", tmp_path / "y")
    said, again = (json.loads((one / "config.json").read_text()) for one in (folder, tmp_path / "y"))
    same = ("crop_size", "frames_per_clip", "tubelet_size", "patch_size", "pred_num_mask_tokens", "pred_hidden_size")
    assert all(said[key] == again[key] for key in same)
    model.predictor = None
    with pytest.raises(UserError, match="with a predictor"):
        export(model, "hf", tmp_path / "x", size=PIXELS)


def test_export_from_the_command_line(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"checkpoint={file}", f"heads={HEADS}", "format=hf", f"size={PIXELS}", f"out={tmp_path / 'hf'}"]
    assert main(["export", *words]) == 0
    assert worldjepa.load(tmp_path / "hf").facts["image"] == (3, 64, PIXELS, PIXELS)
    assert main(["export", *words[:-1], f"out={tmp_path / 'ours'}", "format=worldjepa"]) == 0
    assert worldjepa.load(tmp_path / "ours").facts["image"] is None


def test_save_and_load_again(file: Path, folder: Path, tmp_path: Path) -> None:
    for name, model in {"a": worldjepa.load(file, heads=HEADS), "b": worldjepa.load(folder)}.items():
        again = worldjepa.load(worldjepa.save(model, tmp_path / name))
        assert again.facts == {**model.facts, "layout": "worldjepa"}
        assert again.state_dict().keys() == model.state_dict().keys()
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
        assert torch.equal(again.encode(clips()).x, model.encode(clips()).x)


def test_the_terms_are_printed_and_kept(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = worldjepa.load(file, heads=HEADS)
    said = capsys.readouterr().err
    assert "V-JEPA 2 under the MIT licence, some of its files under Apache-2.0" in said
    assert "commercial" not in said
    worldjepa.load(export(model, "hf", tmp_path / "hf", size=PIXELS))
    assert "MIT" in capsys.readouterr().err
    model.facts["licence"] = None
    worldjepa.load(export(model, "hf", tmp_path / "free", size=PIXELS))
    assert capsys.readouterr().err == ""


# --- what does not fit ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"num_attention_heads": 7}, "does not divide among heads=7"),
        ({"num_attention_heads": -1}, "num_attention_heads=-1, which is not a whole number"),
        ({"num_attention_heads": None}, "do not show how many heads"),
        ({"pred_num_attention_heads": 7}, r"\(predictor\): the predictor's width 96 does not divide among 7 heads"),
        ({"pred_num_attention_heads": [1]}, "is not a whole number from 1 to"),
        ({"pred_num_attention_heads": 48}, "have no room for rotary positions"),
        ({"num_hidden_layers": 3}, "says num_hidden_layers=3, the tensors 2"),
        ({"pred_num_mask_tokens": 3}, "says pred_num_mask_tokens=3, the tensors 4"),
        ({"patch_size": 16}, "says patch_size=16, the tensors 4"),
        ({"tubelet_size": 1}, "says tubelet_size=1, the tensors 2"),
        ({"crop_size": "large"}, "crop_size=large, which is not a whole number"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps=1e-05, but V-JEPA 2 has 1e-06"),
        ({"hidden_act": "relu"}, "hidden_act=relu, but V-JEPA 2 has gelu"),
        ({"qkv_bias": False}, "qkv_bias=False, but V-JEPA 2 has True"),
    ],
)
def test_strange_configurations(said: dict[str, Any], told: str, folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **said}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=told):
        worldjepa.load(tmp_path)


def test_configurations_that_say_little(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vjepa2", "num_attention_heads": 4}')
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    little = worldjepa.load(tmp_path)
    assert torch.equal(little.encode(clips()).x, worldjepa.load(folder).encode(clips()).x)
    assert little.facts["image"] is None


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("classifier.weight", (3, 80), r"1 left over: classifier\.weight"),
        ("encoder.layer.0.attention.key.bias", None, r"1 missing: encoder\.layer\.0\.attention\.key\.bias"),
        ("predictor.embeddings.mask_tokens", None, "1 missing: predictor.embeddings.mask_tokens"),
        ("predictor.embeddings.mask_tokens", (4, 96), "expected 4 axes"),
        ("predictor.embeddings.mask_tokens", (4, 1, 2, 96), r"not all of the shape \[1, 1, 96\]"),
        ("encoder.layer.1.attention.query.weight", (3, 80), "are not of one shape"),
        ("encoder.embeddings.patch_embeddings.proj.weight", (80, 3, 2, 4, 8), "patches of 4 x 8 are not square"),
        ("predictor.proj.weight", (80, 95), r"of another shape: predictor_proj\.weight"),
    ],
)
def test_strange_tensors(name: str, shape: tuple[int, ...] | None, told: str, folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    if shape is None:
        del tensors[name]
    else:
        tensors[name] = torch.zeros(shape)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=told):
        worldjepa.load(tmp_path)


def test_strange_official_files(model: Any, tmp_path: Path) -> None:
    parts = official_names(model)
    encoder, narrow = parts["encoder"], parts["predictor"]
    cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        r"1 missing: norm\.bias": ({k: v for k, v in encoder.items() if k != "norm.bias"}, narrow),
        r"1 left over: head\.weight": ({**encoder, "head.weight": torch.zeros(1)}, narrow),
        r"\(predictor\).*1 missing: mask_tokens\.1": (
            encoder,
            {k: v for k, v in narrow.items() if k != "mask_tokens.1"},
        ),
        r"missing: mask_tokens\.0": (encoder, {k: v for k, v in narrow.items() if "mask" not in k}),
        r"does not divide among 12 heads": (
            encoder,
            {**narrow, **{f"mask_tokens.{i}": torch.zeros(1, 1, 90) for i in range(4)}},
        ),
    }
    for number, (told, (one, other)) in enumerate(cases.items()):
        file = save_vjepa2(tmp_path / f"{number}.pt", model, target_encoder=wrapped(one), predictor=wrapped(other))
        with pytest.raises(UserError, match=told):
            worldjepa.load(file, heads=HEADS)
