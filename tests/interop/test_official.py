"""The files of I-JEPA's repository: numbers equal to the published rules, and every mistake named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor

import worldjepa
from interop import reference
from interop.toys import HEADS, PATCH, PIXELS, SIDE, WIDTH, encoder, images, predictor, save_official, wrapped
from worldjepa.errors import UserError
from worldjepa.interop.sizes import ARCHS, Ask, Shape, heads_of

CLOSE = {"atol": 1e-5, "rtol": 0.0}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_official(tmp_path_factory.mktemp("official") / "IN1K-toy.pth.tar")


def subsets(count: int, seed: int, batch: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(SIDE * SIDE, generator=rng)[:count].sort().values for _ in range(batch)])


@pytest.mark.parametrize(("which", "seed"), [("target_encoder", 0), ("encoder", 7)])
def test_all_tokens(which: str, seed: int, file: Path) -> None:
    model = worldjepa.load(file, heads=HEADS, which=which)
    tokens = model.encode(images())
    assert tokens.x.shape == (2, SIDE * SIDE, WIDTH)
    torch.testing.assert_close(tokens.x, reference.encode(encoder(seed), HEADS, images()), **CLOSE)


def test_the_target_encoder_is_the_default(file: Path) -> None:
    default = worldjepa.load(file, heads=HEADS).encode(images()).x
    assert torch.equal(default, worldjepa.load(file, heads=HEADS, which="target_encoder").encode(images()).x)
    assert not torch.allclose(default, worldjepa.load(file, heads=HEADS, which="encoder").encode(images()).x)


def test_a_context_sees_nothing_else(file: Path) -> None:
    model, context = worldjepa.load(file, heads=HEADS), subsets(11, seed=1)
    tokens = model.encode(images(), context)
    assert tokens.x.shape == (2, 11, WIDTH)
    torch.testing.assert_close(tokens.x, reference.encode(encoder(), HEADS, images(), [context]), **CLOSE)
    assert torch.equal(tokens.pos[..., 1] * SIDE + tokens.pos[..., 2], context.float())


def test_predictions_in_the_official_order_of_batches(file: Path) -> None:
    model = worldjepa.load(file, heads=HEADS, which="encoder")
    context, targets = subsets(13, seed=2), [subsets(5, seed=seed) for seed in (3, 4, 5)]
    z = reference.encode(encoder(seed=7), HEADS, images(), [context])
    stacked = reference.predict(predictor(), HEADS, z, [context], targets, batch=2)  # [3*2, 5, D], target slowest
    predicted = model.predict(images(), context, torch.stack(targets, 1))
    assert predicted.x.shape == (2, 3, 5, WIDTH)
    torch.testing.assert_close(predicted.x, stacked.reshape(3, 2, 5, WIDTH).transpose(0, 1), **CLOSE)


def test_the_column_comes_first_in_the_stored_code(file: Path) -> None:
    table = worldjepa.load(file, heads=HEADS).encoder.positions.table.view(SIDE, SIDE, WIDTH)
    half = WIDTH // 2
    assert torch.equal(table[0, :, :half], table[3, :, :half])
    assert not torch.equal(table[0, 1, :half], table[0, 2, :half])
    assert torch.equal(table[:, 0, half:], table[:, 4, half:])


@pytest.mark.parametrize("side", [4, 9])
def test_other_resolutions_interpolate_the_stored_code(side: int, file: Path) -> None:
    model, pictures = worldjepa.load(file, heads=HEADS), images(side=side * PATCH)
    weights = encoder()
    plane = weights["pos_embed"].view(1, SIDE, SIDE, WIDTH).permute(0, 3, 1, 2)
    resized = F.interpolate(plane, size=(side, side), mode="bicubic", align_corners=False)
    weights["pos_embed"] = resized.permute(0, 2, 3, 1).reshape(1, side * side, WIDTH)
    torch.testing.assert_close(model.encode(pictures).x, reference.encode(weights, HEADS, pictures), **CLOSE)
    narrow = predictor()
    plane = narrow["predictor_pos_embed"].view(1, SIDE, SIDE, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(plane, size=(side, side), mode="bicubic", align_corners=False)
    narrow["predictor_pos_embed"] = resized.permute(0, 2, 3, 1).reshape(1, side * side, -1)
    context = torch.arange(0, side * side, 2).expand(2, -1)
    target = torch.arange(1, side * side, 4).expand(2, -1)
    z = reference.encode(weights, HEADS, pictures, [context])
    wanted = reference.predict(narrow, HEADS, z, [context], [target], batch=2)
    torch.testing.assert_close(model.predict(pictures, context, target[:, None]).x[:, 0], wanted, **CLOSE)


def test_bfloat16_weights_keep_their_values(tmp_path: Path) -> None:
    def cast(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
        return {name: value.to(dtype) for name, value in tensors.items()}

    half = cast(encoder(), torch.bfloat16)
    file = save_official(tmp_path / "half.pth.tar", target_encoder=wrapped(half))
    model = worldjepa.load(file, heads=HEADS)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    wanted = reference.encode(cast(half, torch.float32), HEADS, images())
    torch.testing.assert_close(model.encode(images()).x, wanted, **CLOSE)


def test_the_terms_are_printed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worldjepa.load(file, heads=HEADS)
    assert re.search(r"CC BY-NC 4\.0: not for commercial use", capsys.readouterr().err)


def test_files_without_the_modern_container_and_without_prefix(tmp_path: Path) -> None:
    plain = {"encoder": encoder(7), "target_encoder": encoder(), "predictor": predictor()}
    torch.save(plain, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    tokens = worldjepa.load(tmp_path / "old.pth", heads=HEADS).encode(images())
    torch.testing.assert_close(tokens.x, reference.encode(encoder(), HEADS, images()), **CLOSE)


def test_fine_tuning_moves_the_weights(file: Path) -> None:
    model = worldjepa.load(file, heads=HEADS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.encode(images()).x.square().mean().backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert "encoder.tokenizer.proj.weight" in moved
    assert "encoder.blocks.0.attn.qkv.weight" in moved
    assert "encoder.positions.table" not in moved


# --- what does not fit ----------------------------------------------------------------------------------------------


def test_heads_must_be_known(file: Path) -> None:
    with pytest.raises(UserError, match=r"do not show how many heads they have: give heads=NUMBER, or arch=NAME"):
        worldjepa.load(file)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"heads": 5}, "width 32 does not divide among heads=5"),
        ({"heads": 0}, "does not divide among heads=0"),
        ({"arch": "vith14"}, r"is not arch=vith14: .* are 32, 2, 96, 4; those of vith14 are 1280, 32, 5120, 14"),
        ({"arch": "vith41"}, r"arch 'vith41' .*did you mean 'vith14'"),
        ({"heads": HEADS, "which": "target"}, r"which 'target' .*target_encoder"),
    ],
)
def test_wrong_words(words: dict[str, object], told: str, file: Path) -> None:
    with pytest.raises(UserError, match=told):
        worldjepa.load(file, **words)  # type: ignore[arg-type]


def test_a_missing_and_a_left_over_tensor_are_listed(tmp_path: Path) -> None:
    tensors = encoder()
    tensors.pop("blocks.1.attn.qkv.bias")
    tensors["head.weight"] = torch.zeros(10, WIDTH)
    file = save_official(tmp_path / "f.pth.tar", target_encoder=wrapped(tensors))
    with pytest.raises(UserError, match=r"1 missing: blocks\.1\.attn\.qkv\.bias; 1 left over: head\.weight"):
        worldjepa.load(file, heads=HEADS)


def test_a_missing_predictor_tensor_and_a_missing_part(tmp_path: Path) -> None:
    tensors = predictor()
    tensors.pop("mask_token")
    file = save_official(tmp_path / "f.pth.tar", predictor=wrapped(tensors))
    with pytest.raises(UserError, match=r"\(predictor\).*1 missing: mask_token"):
        worldjepa.load(file, heads=HEADS)
    torch.save({"encoder": wrapped(encoder()), "predictor": wrapped(predictor())}, tmp_path / "g.pth.tar")
    with pytest.raises(UserError, match=r"has no 'target_encoder', only encoder, predictor"):
        worldjepa.load(tmp_path / "g.pth.tar", heads=HEADS)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("blocks.0.mlp.fc2.weight", torch.zeros(WIDTH, 5), r"1 of another shape: blocks\.0\.mlp\.fc2\.weight"),
        (
            "norm.weight",
            torch.zeros(WIDTH, dtype=torch.int64),
            r"'module\.norm\.weight' must be a floating-point tensor",
        ),
        ("norm.weight", "strange", r"must be a floating-point tensor, but is a str"),
        ("pos_embed", torch.zeros(1, 7, WIDTH), r"7 tokens, which is not a square grid"),
        ("pos_embed", torch.zeros(36), r"expected 3 axes"),
        ("patch_embed.proj.weight", torch.zeros(WIDTH, 3, 4, 2), r"patches of 4 x 2 are not square"),
        ("blocks.999999.norm1.weight", torch.zeros(WIDTH), r"missing: blocks\.2\.norm1"),
    ],
)
def test_strange_tensors(name: str, value: object, told: str, tmp_path: Path) -> None:
    tensors: dict[str, object] = {**encoder(), name: value}
    wrapped_up = {f"module.{key}": one for key, one in tensors.items()}
    file = save_official(tmp_path / "f.pth.tar", target_encoder=wrapped_up)
    with pytest.raises(UserError, match=told):
        worldjepa.load(file, heads=HEADS)


def test_questions_that_cannot_be_answered(file: Path) -> None:
    model = worldjepa.load(file, heads=HEADS)
    with pytest.raises(UserError, match="context must hold indices from 0 to 35"):
        model.encode(images(), torch.tensor([[0, 36], [1, 2]]))
    with pytest.raises(UserError, match="target has 1 rows for 2 observations"):
        model.predict(images(), subsets(3, seed=0), torch.tensor([[[1]]]))
    with pytest.raises(UserError, match="cannot be cut into patches of 4"):
        model.encode(images(side=PIXELS + 1))


# --- names and sizes ------------------------------------------------------------------------------------------------

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "arch").glob("vit?[0-9]*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_names_of_architectures_mean_what_the_configurations_say(config: Path) -> None:
    tree = yaml.safe_load(config.read_text())
    size, patch = ARCHS[config.stem]
    ratio = tree["encoder"].get("mlp_ratio", 4.0)
    said = (tree["dim"], tree["encoder"]["depth"], tree["encoder"]["heads"], round(tree["dim"] * ratio), tree["patch"])
    assert (*size, patch) == said
    shape = Shape(size.width, size.depth, size.hidden)
    assert heads_of(shape, patch, Ask(arch=config.stem), None, "f") == size.heads
    assert heads_of(shape, patch, Ask(), None, "f") == size.heads


def test_timm_names_are_understood_and_contradictions_are_not() -> None:
    shape = Shape(1280, 32, 5120)
    assert heads_of(shape, 14, Ask(arch="vit_huge_patch14_gap_224.in1k_ijepa"), None, "f") == 16
    with pytest.raises(UserError, match=r"not agreed on: heads says 20, arch=vith14 says 16"):
        heads_of(shape, 14, Ask(arch="vith14", heads=20), None, "f")
    with pytest.raises(UserError, match=r"heads says 16, its config\.json says 8"):
        heads_of(shape, 14, Ask(heads=16), 8, "f")
