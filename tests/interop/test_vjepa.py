"""The files of V-JEPA's repository: numbers equal to the published rules, and every mistake named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import worldjepa
from interop.clips import (
    FRAMES,
    HEADS,
    PATCH,
    PIXELS,
    SIDE,
    TIMES,
    TOKENS,
    TUBELET,
    WIDTH,
    clips,
    code,
    encode,
    encoder,
    predict,
    predictor,
    save_official,
    subsets,
    wrapped,
)
from interop.test_hostile import Payload
from worldjepa.errors import UserError
from worldjepa.interop.clips import read_encoder
from worldjepa.interop.export import export
from worldjepa.interop.sizes import JEPA, Ask
from worldjepa.nn.positions import SinCos
from worldjepa.nn.volume import Volume
from worldjepa.types import Grid, Tokens

CLOSE = {"atol": 1e-5, "rtol": 0.0}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_official(tmp_path_factory.mktemp("official") / "vitl16.pth.tar")


@pytest.mark.parametrize(("words", "seed"), [({}, 0), ({"which": "target_encoder"}, 0), ({"which": "encoder"}, 7)])
def test_all_tokens(words: dict[str, str], seed: int, file: Path) -> None:
    model = worldjepa.load(file, heads=HEADS, **words)  # type: ignore[arg-type]
    tokens = model.encode(clips())
    assert tokens.x.shape == (2, TOKENS, WIDTH)
    torch.testing.assert_close(tokens.x, encode(encoder(seed), HEADS, clips()), **CLOSE)
    assert model.facts["layout"] == "V-JEPA"
    assert model.facts["image"] == (3, FRAMES, PIXELS, PIXELS)


@pytest.mark.parametrize("token", [0, 1])
def test_context_and_predictions(token: int, file: Path) -> None:
    model = worldjepa.load(file, heads=HEADS, which="encoder")
    context, target = subsets(13, seed=1), subsets(20, seed=2)
    z = encode(encoder(7), HEADS, clips(), context)
    tokens = model.encode(clips(), context)
    torch.testing.assert_close(tokens.x, z, **CLOSE)
    predicted = model.predict(clips(), context, target[:, None], mask_token=token)
    assert predicted.x.shape == (2, 1, 20, WIDTH)
    torch.testing.assert_close(predicted.x[:, 0], predict(predictor(), HEADS, z, context, target, token), **CLOSE)


def test_every_mask_token_is_another_and_there_are_no_more(file: Path) -> None:
    model, context, target = worldjepa.load(file, heads=HEADS), subsets(9, seed=1), subsets(4, seed=2)[:, None]
    first, second = (model.predict(clips(), context, target, mask_token=token).x for token in (0, 1))
    assert torch.equal(model.predict(clips(), context, target).x, first)
    assert not torch.allclose(first, second, atol=1e-3)
    for token in (-1, 2):
        with pytest.raises(UserError, match=rf"mask_token={token}: the predictor has 2, counted from 0"):
            model.predict(clips(), context, target, mask_token=token)


def interpolated(table: Tensor, times: int, rows: int, columns: int) -> Tensor:
    """A stored code for another clip, by PyTorch's own trilinear interpolation."""
    lattice = table.view(1, TIMES, SIDE, SIDE, -1).permute(0, 4, 1, 2, 3)
    resized = F.interpolate(lattice, size=(times, rows, columns), mode="trilinear", align_corners=False)
    return resized.permute(0, 2, 3, 4, 1).reshape(1, times * rows * columns, -1)


@pytest.mark.parametrize(("times", "side"), [(3, 6), (5, 4), (2, 3), (1, 4)])
def test_other_clips_interpolate_the_stored_codes(times: int, side: int, file: Path) -> None:
    model, seen = worldjepa.load(file, heads=HEADS), clips(frames=TUBELET * times, side=PATCH * side)
    weights, narrow = encoder(), predictor()
    for tensors, name in ((weights, "pos_embed"), (narrow, "predictor_pos_embed")):
        tensors[name] = interpolated(tensors[name], times, side, side)
    torch.testing.assert_close(model.encode(seen).x, encode(weights, HEADS, seen), **CLOSE)
    count = times * side * side
    context, target = subsets(count // 3, 4, tokens=count), subsets(count // 4, 5, tokens=count)
    wanted = predict(narrow, HEADS, encode(weights, HEADS, seen, context), context, target, 0)
    torch.testing.assert_close(model.predict(seen, context, target[:, None]).x[:, 0], wanted, **CLOSE)


def test_frames_that_are_not_square(file: Path) -> None:
    seen = clips(side=PATCH * 6)[..., : PATCH * 3]
    weights = {**encoder(), "pos_embed": interpolated(encoder()["pos_embed"], TIMES, 6, 3)}
    torch.testing.assert_close(worldjepa.load(file, heads=HEADS).encode(seen).x, encode(weights, HEADS, seen), **CLOSE)


def test_bytes_are_normalised_as_in_training(file: Path) -> None:
    seen = torch.randint(256, (1, 3, FRAMES, PIXELS, PIXELS), generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    wanted = encode(encoder(), HEADS, (seen / 255 - mean) / std)
    torch.testing.assert_close(worldjepa.load(file, heads=HEADS).encode(seen.to(torch.uint8)).x, wanted, **CLOSE)


@pytest.mark.parametrize(
    ("times", "side", "width"), [(8, 14, 1024), (8, 24, 1280), (8, 14, 384), (8, 16, 96), (1, 7, 24)]
)
def test_the_released_lattices_are_found_in_their_codes(times: int, side: int, width: int) -> None:
    from worldjepa.interop.clips import _stored

    stored = code(width, times, side)
    node = dict(_stored(stored, width, "pos_embed", "f"))
    assert (node["times"], node["height"], node["width"]) == (times, side, side)
    half = dict(_stored(stored.to(torch.bfloat16), width, "pos_embed", "f"))
    assert half == node


def test_the_formula_is_the_stored_code() -> None:
    for width in (WIDTH, 384, 1024):
        stored = Volume(TIMES, SIDE, SIDE, width)
        torch.testing.assert_close(stored.table[None], code(width), atol=2e-6, rtol=0)
        shared = Grid(TIMES, SIDE, SIDE).pos().expand(2, -1, -1)
        added = SinCos("thw").added(Tokens(torch.zeros(2, TOKENS, width), shared))
        assert torch.equal(stored.added(Tokens(torch.zeros(2, TOKENS, width), shared)), added)


def test_a_volume_says_what_it_cannot_be() -> None:
    with pytest.raises(UserError, match="times=0"):
        Volume(0, 1, 1, 6)
    with pytest.raises(UserError, match="has width 6, not 12"):
        Volume(1, 1, 1, 6).check(12, 1)


def test_published_sizes_know_their_heads() -> None:
    tensors = {name: torch.zeros(1) for name in ("pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias")}
    for i in range(24):
        for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"):
            tensors |= {f"blocks.{i}.{layer}.{kind}": torch.zeros(1) for kind in ("weight", "bias")}
    tensors |= {"norm.weight": torch.zeros(1), "norm.bias": torch.zeros(1)}
    tensors["patch_embed.proj.weight"] = torch.zeros(1024, 3, 2, 16, 16)
    tensors["blocks.0.mlp.fc1.weight"] = torch.zeros(4096, 1024)
    tensors["pos_embed"] = code(1024, 8, 14)
    assert read_encoder(tensors, Ask(), "f", JEPA, stored=True).node["heads"] == 16


def test_save_and_load_again(file: Path, tmp_path: Path) -> None:
    model = worldjepa.load(file, heads=HEADS)
    again = worldjepa.load(worldjepa.save(model, tmp_path / "m"))
    assert again.facts == {**model.facts, "layout": "worldjepa"}
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())
    context, target = subsets(9, seed=1), subsets(4, seed=2)[:, None]
    assert torch.equal(
        again.predict(clips(), context, target, mask_token=1).x, model.predict(clips(), context, target, mask_token=1).x
    )


def test_half_precision_keeps_its_values(tmp_path: Path) -> None:
    half = {name: value.to(torch.bfloat16) for name, value in encoder().items()}
    model = worldjepa.load(save_official(tmp_path / "f.pth.tar", target_encoder=wrapped(half)), heads=HEADS)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    wanted = encode({name: value.float() for name, value in half.items()}, HEADS, clips())
    torch.testing.assert_close(model.encode(clips()).x, wanted, **CLOSE)


def test_the_terms_are_printed_and_kept(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = worldjepa.load(file, heads=HEADS)
    assert "Meta's V-JEPA weights are licensed CC BY-NC 4.0: not for commercial use" in capsys.readouterr().err
    worldjepa.load(worldjepa.save(model, tmp_path / "m"))
    assert "CC BY-NC 4.0" in capsys.readouterr().err


# --- what does not fit ------------------------------------------------------------------------------------------------


def test_files_without_the_outer_prefix(tmp_path: Path) -> None:
    plain = {"encoder": encoder(7), "target_encoder": encoder(), "predictor": predictor()}
    torch.save(plain, tmp_path / "plain.pth")
    tokens = worldjepa.load(tmp_path / "plain.pth", heads=HEADS).encode(clips())
    torch.testing.assert_close(tokens.x, encode(encoder(), HEADS, clips()), **CLOSE)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("head.weight", torch.zeros(3, WIDTH), r"\(target_encoder\) .*1 left over: head\.weight"),
        ("blocks.0.mlp.fc2.weight", torch.zeros(WIDTH, 5), r"1 of another shape: blocks\.0\.mlp\.fc2\.weight"),
        ("norm.weight", torch.zeros(WIDTH, dtype=torch.int64), r"'module\.backbone\.norm\.weight' must be a floating"),
        ("norm.weight", "strange", "must be a floating-point tensor, but is a str"),
        ("pos_embed", torch.zeros(1, 7, WIDTH), "'pos_embed' of 7 tokens is the sine-cosine code of no clip"),
        ("pos_embed", torch.zeros(1, 7, 3), r"'pos_embed' has the shape \[1, 7, 3\], expected \[1, 7, 40\]"),
        ("pos_embed", torch.zeros(36), "expected 3 axes"),
        ("patch_embed.proj.weight", torch.zeros(WIDTH, 3, 2, 4, 2), "patches of 4 x 2 are not square"),
        ("patch_embed.proj.weight", torch.zeros(WIDTH, 3, 4, 4), "expected 5 axes"),
        ("blocks.999999.norm1.weight", torch.zeros(WIDTH), r"missing: blocks\.2\.norm1"),
        ("blocks.1.attn.qkv.bias", None, r"1 missing: blocks\.1\.attn\.qkv\.bias"),
        ("pos_embed", None, "1 missing: pos_embed"),
    ],
)
def test_strange_encoders(name: str, value: object, told: str, tmp_path: Path) -> None:
    tensors: dict[str, object] = {**encoder(), name: value}
    if value is None:
        del tensors[name]
    file = save_official(tmp_path / "f.pth.tar", target_encoder=wrapped(tensors))
    with pytest.raises(UserError, match=told):
        worldjepa.load(file, heads=HEADS)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("mask_tokens.1", torch.zeros(1, 2, 20), r"mask tokens are not all of the shape \[1, 1, 20\]"),
        ("mask_tokens.0", None, "1 missing: mask_tokens.0"),
        ("mask_token", torch.zeros(1, 1, 20), "1 left over: mask_token"),
        ("predictor_pos_embed", None, "1 missing: predictor_pos_embed"),
        ("predictor_pos_embed", torch.zeros(1, 9, 20), r"of another shape: positions\.table"),
    ],
)
def test_strange_predictors(name: str, value: object, told: str, tmp_path: Path) -> None:
    tensors: dict[str, object] = {**predictor(), name: value}
    if value is None:
        del tensors[name]
    file = save_official(tmp_path / "f.pth.tar", predictor=wrapped(tensors))
    with pytest.raises(UserError, match=told):
        worldjepa.load(file, heads=HEADS)


def test_missing_parts_and_unknown_heads(file: Path, tmp_path: Path) -> None:
    torch.save({"encoder": wrapped(encoder()), "predictor": wrapped(predictor())}, tmp_path / "g.pth.tar")
    with pytest.raises(UserError, match=r"has no 'target_encoder', only encoder, predictor"):
        worldjepa.load(tmp_path / "g.pth.tar", heads=HEADS)
    torch.save({"encoder": wrapped(encoder()), "target_encoder": 3}, tmp_path / "h.pth.tar")
    with pytest.raises(UserError, match=r"has no 'predictor', only"):
        worldjepa.load(tmp_path / "h.pth.tar", heads=HEADS)
    with pytest.raises(UserError, match="do not show how many heads they have"):
        worldjepa.load(file)
    with pytest.raises(UserError, match="is not arch=vitl16"):
        worldjepa.load(file, arch="vitl16")


def test_a_payload_is_not_run(tmp_path: Path) -> None:
    file = save_official(tmp_path / "f.pth.tar", loss=Payload(tmp_path / "ran"))
    with pytest.raises(UserError, match="holds more than plain tensors"):
        worldjepa.load(file, heads=HEADS)
    assert not (tmp_path / "ran").exists()


def test_others_have_no_place_for_it(file: Path, tmp_path: Path) -> None:
    model = worldjepa.load(file, heads=HEADS)
    with pytest.raises(UserError, match=r"positions=rope_vjepa2, not Volume"):
        export(model, "hf", tmp_path / "hf")
    with pytest.raises(UserError, match=r"format=timm holds image encoders of I-JEPA's kind only"):
        export(model, "timm", tmp_path / "timm")
    with pytest.raises(UserError, match="a clip has the shape"):
        model.encode(torch.zeros(2, 3))
