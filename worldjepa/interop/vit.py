"""The vision transformer of I-JEPA under its official names, which timm shares: sizes, our names, nodes to build it from.

What the released weights depend on:

- one `qkv` layer with a bias, its rows query, key, value, each split into heads contiguously;
- layer norms with epsilon 1e-6, in the blocks and at the end;
- a position code that is stored, not learned: on the first half of the width the column, on the second the row; it is
  added before tokens are dropped. It is kept as stored, and interpolated for other resolutions;
- no class token: tokens are the patches in row-major order;
- the predictor has as many heads as its encoder, and a mask token of shape `[1, 1, width]`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from worldjepa.errors import UserError
from worldjepa.interop.layout import Node, Part
from worldjepa.interop.sizes import Ask, Shape, axes_of, check_names, depth_of, heads_of, square

EPS = 1e-6

BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
"""The layers of a block, each with weight and bias."""


def layer_names(layers: tuple[str, ...]) -> list[str]:
    """Weight and bias of every layer."""
    return [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def encoder_names(depth: int) -> list[str]:
    """The official names of an encoder's tensors."""
    blocks = tuple(f"blocks.{i}.{layer}" for i in range(depth) for layer in BLOCK)
    return ["pos_embed", *layer_names(("patch_embed.proj", *blocks, "norm"))]


def predictor_names(depth: int) -> list[str]:
    """The official names of a predictor's tensors."""
    blocks = tuple(f"predictor_blocks.{i}.{layer}" for i in range(depth) for layer in BLOCK)
    layers = ("predictor_embed", *blocks, "predictor_norm", "predictor_proj")
    return ["mask_token", "predictor_pos_embed", *layer_names(layers)]


def ratio_rounded_down(hidden: int, width: int) -> float:
    """The ratio from which those who round `width * ratio` down get `hidden`."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def our_name(official: str) -> str:
    """Our name of a tensor of encoder or predictor."""
    if official in ("pos_embed", "predictor_pos_embed"):
        return "positions.table"
    return official.replace("patch_embed.proj.", "tokenizer.proj.")


def ours(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under our names; a stored position code loses its batch axis."""
    return {
        our_name(name): value.squeeze(0) if name.endswith("pos_embed") else value for name, value in tensors.items()
    }


def read_encoder(
    tensors: Mapping[str, Tensor],
    ask: Ask,
    where: str,
    said_heads: int | None = None,
    grid: tuple[int, int] | None = None,
    eps: float = EPS,
) -> Part:
    """An encoder from tensors under their official names.

    Args:
        tensors: all of them.
        ask: what the user says.
        where: the file, for messages.
        said_heads: heads that a configuration beside the weights names.
        grid: rows and columns of the position code, if that is known to be other than square.
        eps: of the layer norms.

    Raises:
        UserError: tensors are missing, left over or of strange shapes; or the number of heads is not known.
    """
    depth = depth_of(tensors, "blocks.")
    check_names(tensors, encoder_names(depth), where)
    width, channels, patch, other = axes_of(tensors["patch_embed.proj.weight"], 4, "patch_embed.proj.weight", where)
    if patch != other:
        raise UserError(f"{where}: its patches of {patch} x {other} are not square")
    if not depth:
        raise UserError(f"{where} holds no transformer block")
    one, tokens, _ = axes_of(tensors["pos_embed"], 3, "pos_embed", where)
    rows, columns = grid or square(tokens, where)
    if one != 1 or rows * columns != tokens:
        raise UserError(
            f"{where}: 'pos_embed' has the shape {list(tensors['pos_embed'].shape)}, expected [1, {rows * columns}, {width}]"
        )
    hidden = axes_of(tensors["blocks.0.mlp.fc1.weight"], 2, "blocks.0.mlp.fc1.weight", where)[0]
    heads = heads_of(Shape(width, depth, hidden), patch, ask, said_heads, where)
    return Part(encoder_node(width, depth, heads, hidden, patch, channels, (rows, columns), eps), ours(tensors))


def read_predictor(tensors: Mapping[str, Tensor], encoder: Node, where: str) -> Part:
    """The predictor that belongs to an encoder, from tensors under their official names.

    Raises:
        UserError: tensors are missing, left over or of strange shapes.
    """
    depth = depth_of(tensors, "predictor_blocks.")
    check_names(tensors, predictor_names(depth), where)
    _, _, width = axes_of(tensors["mask_token"], 3, "mask_token", where)
    if not depth:
        raise UserError(f"{where}: the predictor holds no transformer block")
    hidden = axes_of(tensors["predictor_blocks.0.mlp.fc1.weight"], 2, "predictor_blocks.0.mlp.fc1.weight", where)[0]
    axes_of(tensors["predictor_pos_embed"], 3, "predictor_pos_embed", where)
    lattice = encoder["positions"]
    node = {
        "_target_": "worldjepa.predictors.MaskTokenViT",
        "input_dim": encoder["dim"],
        "dim": width,
        "depth": depth,
        "heads": encoder["heads"],
        "mlp_ratio": hidden / width,
        "positions": {**lattice, "dim": width},
    }
    return Part(node, ours(tensors))


def encoder_node(
    width: int, depth: int, heads: int, hidden: int, patch: int, channels: int, grid: tuple[int, int], eps: float
) -> Node:
    """How to build an encoder."""
    return {
        "_target_": "worldjepa.encoders.ViT",
        "tokenizer": {
            "_target_": "modalities.image.tokenizer.Patches",
            "patch": patch,
            "dim": width,
            "channels": channels,
        },
        "dim": width,
        "depth": depth,
        "heads": heads,
        "mlp_ratio": hidden / width,
        "norm_eps": eps,
        "positions": {"_target_": "worldjepa.nn.positions.Table", "height": grid[0], "width": grid[1], "dim": width},
    }


def image_of(encoder: Node) -> tuple[int, int, int]:
    """Channels, height and width of the images that a stored position code is for."""
    tokenizer, lattice = encoder["tokenizer"], encoder["positions"]
    return tokenizer["channels"], lattice["height"] * tokenizer["patch"], lattice["width"] * tokenizer["patch"]


def lattice(image: object, patch: object) -> tuple[int, int] | None:
    """Rows and columns of the patches of an image, where a configuration gives both of its sides; else None."""
    if isinstance(patch, list) and len(patch) == 2 and patch[0] == patch[1]:
        patch = patch[0]
    if not isinstance(image, list) or len(image) != 2 or not isinstance(patch, int) or patch < 1:
        return None
    if not all(type(side) is int and side > 0 for side in image):
        return None
    return image[0] // patch, image[1] // patch
