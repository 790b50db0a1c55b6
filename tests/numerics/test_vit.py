"""The encoder against timm's, the published sizes, names and initialisation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from modalities.image.tokenizer import Patches
from worldjepa.encoders import TimmViT, ViT
from worldjepa.errors import UserError
from worldjepa.nn.positions import SinCos, sincos
from worldjepa.predictors import MaskTokenViT
from worldjepa.types import Grid, Tokens
from worldjepa.visual.attention import attention_maps

from .reference import encode, position_table

ARCH = Path(__file__).parents[2] / "configs" / "arch"


def toy(init: str = "normal", depth: int = 3, dim: int = 24) -> ViT:
    torch.manual_seed(0)
    return ViT(Patches(4, dim), dim=dim, depth=depth, heads=4, init=init)  # type: ignore[arg-type]


def shake(module: nn.Module) -> None:
    """Draw every parameter anew, so that no bias is 0 and no gain is 1."""
    rng = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype)


def as_timm(encoder: ViT, image_size: int) -> VisionTransformer:
    """timm's vision transformer with the weights of ours and our position code."""
    model = VisionTransformer(
        img_size=image_size,
        patch_size=4,
        embed_dim=encoder.dim,
        depth=len(encoder.blocks),
        num_heads=4,
        num_classes=0,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
    )
    weights = {name.replace("tokenizer.", "patch_embed."): value for name, value in encoder.state_dict().items()}
    side = image_size // 4
    model.load_state_dict({**weights, "pos_embed": position_table(side, side, encoder.dim).float()})
    return model.eval()


def test_equals_timm() -> None:
    encoder = toy()
    shake(encoder)
    timm = as_timm(encoder, 20)
    images = torch.randn(3, 3, 20, 20, generator=torch.Generator().manual_seed(2))
    ours = encoder(images).x
    torch.testing.assert_close(ours, timm.forward_features(images), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.mean(1), timm(images), rtol=1e-5, atol=1e-5)


def test_kept_tokens_equal_the_published_order_of_work() -> None:
    encoder = toy().double()
    shake(encoder)
    images = torch.randn(2, 3, 16, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    keep = torch.stack([torch.randperm(20, generator=torch.Generator().manual_seed(s))[:12] for s in (3, 4)])
    keep = keep.view(2, 2, 6)  # [B, C, K]
    masks = [keep[:, 0], keep[:, 1]]
    theirs = encode(images, dict(encoder.state_dict()), heads=4, depth=3, masks=masks).view(2, 2, 6, 24)  # [C, B, K, D]
    torch.testing.assert_close(encoder(images, keep).x, theirs.transpose(0, 1), rtol=1e-5, atol=1e-6)


def settings(name: str) -> dict[str, Any]:
    """What an option of the group `arch` says."""
    config = OmegaConf.create(
        {"arch": OmegaConf.load(ARCH / f"{name}.yaml"), "modality": {"tokenizer": None}, "positions": None}
    )
    values: Any = OmegaConf.to_container(config, resolve=True)
    assert values["arch"]["encoder"]["_target_"] == "worldjepa.encoders.ViT"
    return dict(values["arch"])


def arch(name: str) -> tuple[ViT, MaskTokenViT]:
    """Encoder and predictor of an option, without memory for their weights."""
    values = settings(name)
    encoder = {key: value for key, value in values["encoder"].items() if key not in ("_target_", "tokenizer")}
    with torch.device("meta"):
        vit = ViT(Patches(values["patch"], encoder["dim"]), **encoder)
        return vit, MaskTokenViT(vit.dim, **values["predictor"])


def millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.mark.parametrize(
    ("name", "encoder", "digits", "predictor"),
    [
        ("vitb16", 85.65, 2, 11.24),
        ("vitl16", 303.1, 1, 22.08),
        ("vith14", 630.4, 1, 22.28),
        ("vith16", 630.7, 1, None),
        ("vitg16", 1011.1, 1, 29.48),
    ],
)
def test_published_numbers_of_parameters(name: str, encoder: float, digits: int, predictor: float | None) -> None:
    vit, narrow = arch(name)
    assert round(millions(vit), digits) == encoder
    assert predictor is None or round(millions(narrow), 2) == predictor
    assert name != "vitg16" or vit.blocks[0].mlp.fc1.out_features == 6144  # type: ignore[union-attr]


SIZES = {
    "t": (192, 12, 3, 768),
    "s": (384, 12, 6, 1536),
    "b": (768, 12, 12, 3072),
    "l": (1024, 24, 16, 4096),
    "h": (1280, 32, 16, 5120),
    "g": (1408, 40, 16, 6144),
}


@pytest.mark.parametrize("size", SIZES)
def test_every_option_has_the_published_size(size: str) -> None:
    options = {patch: settings(f"vit{size}{patch}") for patch in (8, 14, 16)}
    assert all(option.pop("patch") == patch for patch, option in options.items())
    assert options[8] == options[14] == options[16]
    encoder, predictor = options[16]["encoder"], options[16]["predictor"]
    hidden = round(encoder["dim"] * encoder.get("mlp_ratio", 4))
    assert (encoder["dim"], encoder["depth"], encoder["heads"], hidden) == SIZES[size]
    assert predictor["heads"] == encoder["heads"]
    if size in "blhg":
        assert (predictor["dim"], predictor["depth"]) == (384, {"b": 6, "l": 12, "h": 12, "g": 16}[size])


def block_names(stack: str, depth: int, dim: int, hidden: int) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for number in range(depth):
        layers = {
            "norm1": [dim],
            "attn.qkv": [3 * dim, dim],
            "attn.proj": [dim, dim],
            "norm2": [dim],
            "mlp.fc1": [hidden, dim],
            "mlp.fc2": [dim, hidden],
        }
        for layer, shape in layers.items():
            shapes[f"{stack}.{number}.{layer}.weight"] = shape
            shapes[f"{stack}.{number}.{layer}.bias"] = shape[:1]
    return shapes


def test_names_and_shapes_of_published_weights() -> None:
    vit, narrow = arch("vith14")
    # Without the position codes, which are no parameters here; the patch embedding is called patch_embed there.
    encoder = {"tokenizer.proj.weight": [1280, 3, 14, 14], "tokenizer.proj.bias": [1280]}
    encoder |= block_names("blocks", 32, 1280, 5120) | {"norm.weight": [1280], "norm.bias": [1280]}
    assert {name: list(value.shape) for name, value in vit.state_dict().items()} == encoder
    predictor = {"mask_token": [1, 1, 384], "predictor_embed.weight": [384, 1280], "predictor_embed.bias": [384]}
    predictor |= block_names("predictor_blocks", 12, 384, 1536)
    predictor |= {"predictor_norm.weight": [384], "predictor_norm.bias": [384]}
    predictor |= {"predictor_proj.weight": [1280, 384], "predictor_proj.bias": [1280]}
    assert {name: list(value.shape) for name, value in narrow.state_dict().items()} == predictor
    assert narrow.state_dict()["predictor_blocks.0.attn.qkv.weight"].shape[0] == 1152


def test_position_code_by_hand() -> None:
    code = sincos(torch.tensor([[0.0, 1.0, 2.0]]), 8)[0]  # row 1, column 2
    by_hand = [math.sin(2), math.sin(0.02), math.cos(2), math.cos(0.02)]  # the column comes first
    by_hand += [math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01)]
    torch.testing.assert_close(code, torch.tensor(by_hand))


@pytest.mark.parametrize("width", [8, 384])
def test_position_code_equals_the_table(width: int) -> None:
    table = position_table(14, 16, width)[0].float()
    torch.testing.assert_close(sincos(Grid(1, 14, 16).pos(), width), table, rtol=0, atol=2e-6)


def test_position_code_orders_its_axes() -> None:
    row, column = torch.tensor([[0.0, 5.0, 0.0]]), torch.tensor([[0.0, 0.0, 5.0]])
    still = sincos(torch.zeros(1, 3), 16)
    assert torch.equal(sincos(row, 16)[:, :8], still[:, :8])
    assert torch.equal(sincos(column, 16)[:, 8:], still[:, 8:])
    assert torch.equal(sincos(row, 16, "hw"), sincos(column, 16, "wh"))
    assert torch.equal(sincos(torch.tensor([[5.0, 0.0, 0.0]]), 8, "t"), sincos(row, 8, "h"))
    assert sincos(torch.rand(3, 4, 3), 12, "thw").shape == (3, 4, 12)


def test_a_shared_grid_gets_the_same_code_as_a_copied_one() -> None:
    shared = Grid(1, 3, 4).pos().expand(5, -1, -1)
    assert torch.equal(sincos(shared, 16), sincos(shared.contiguous(), 16))
    apart = torch.rand(5, 4, 3)
    assert torch.equal(sincos(apart, 16)[3], sincos(apart[3], 16))


@pytest.mark.parametrize(("dim", "axes"), [(3, "wh"), (4, "thw"), (9, "w"), (8, "x"), (8, ""), (8, "ww")])
def test_impossible_axes_are_refused(dim: int, axes: str) -> None:
    with pytest.raises(UserError, match="axes"):
        SinCos(axes).check(dim, heads=1)


def test_no_position_code_in_the_state() -> None:
    encoder = toy()
    encoder(torch.zeros(1, 3, 8, 8))
    assert not [name for name in encoder.state_dict() if "pos" in name]
    assert not list(encoder.blocks.buffers())


def test_any_size_of_image() -> None:
    encoder = toy()
    assert encoder(torch.zeros(1, 3, 8, 20)).x.shape == (1, 10, 24)
    tokens = encoder.tokenizer(torch.randn(2, 3, 8, 8))
    assert torch.equal(encoder(Tokens(tokens.x, tokens.pos)).x, encoder(Tokens(tokens.x, tokens.pos.clone())).x)


def test_normal_initialisation() -> None:
    encoder = toy(dim=96)
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.ndim == 1:
            assert bool((parameter == 1).all()), name
        else:
            # The standard error of a standard deviation is its size over sqrt(2 n).
            assert abs(parameter.std() / 0.02 - 1) < 5 / math.sqrt(2 * parameter.numel()), name
            assert abs(parameter.mean()) < 5 * 0.02 / math.sqrt(parameter.numel()), name
            assert parameter.abs().max() > 3 * 0.02, "cut at few standard deviations"


def test_rescaled_initialisation() -> None:
    plain, rescaled = dict(toy("normal").named_parameters()), dict(toy("rescaled").named_parameters())
    for name, parameter in plain.items():
        factor = 1.0
        if name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
            factor = math.sqrt(2 * (int(name.split(".")[1]) + 1))
        torch.testing.assert_close(rescaled[name], parameter / factor, msg=name)


def test_xavier_initialisation() -> None:
    for name, parameter in toy("xavier", dim=96).named_parameters():
        if parameter.ndim > 1:
            fan = parameter[0].numel() + parameter.shape[0]
            bound = math.sqrt(6 / fan)
            assert 0.98 * bound < parameter.abs().max() <= bound, name
            assert abs(parameter.std() * math.sqrt(fan / 2) - 1) < 0.05, name


def test_mask_token_and_the_norms_epsilon() -> None:
    torch.manual_seed(0)
    assert 0.015 < float(MaskTokenViT(8, dim=384, depth=0, heads=4).mask_token.detach().std()) < 0.025
    assert toy().norm.eps == toy().blocks[0].norm1.eps == toy().blocks[0].norm2.eps == 1e-6  # type: ignore[union-attr]


def test_widths_that_do_not_fit() -> None:
    with pytest.raises(UserError, match="24 does not divide among 5 heads"):
        ViT(Patches(4, 24), 24, 1, 5)
    with pytest.raises(UserError, match="width 24, the encoder expects 48"):
        ViT(Patches(4, 24), 48, 1, 4)
    with pytest.raises(UserError, match="12 does not divide among 5 heads"):
        MaskTokenViT(24, dim=12, depth=1, heads=5)


@torch.no_grad()
def test_attention_maps_of_timms_are_what_its_forward_pass_uses() -> None:
    torch.manual_seed(0)
    encoder = TimmViT("vit_tiny_patch16_224", image_size=32).eval()
    obs = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    inputs = []
    block = encoder.model.blocks[-1]
    hook = block.attn.register_forward_hook(lambda module, args, out: inputs.append((args[0], out)))
    maps = attention_maps(encoder, obs)
    hook.remove()
    x, out = inputs[0]
    v = block.attn.qkv(x).view(1, 4, 3, 3, 64).permute(2, 0, 3, 1, 4)[2]
    assert torch.allclose(block.attn.proj((maps @ v).transpose(1, 2).reshape(1, 4, 192)), out, atol=1e-5)
