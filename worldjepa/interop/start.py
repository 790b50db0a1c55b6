"""`run.init_from=`: a new run starts from a checkpoint of any layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldjepa.causal import CausalViT
from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.interop import runs, saved
from worldjepa.interop.build import check_fit, instantiated
from worldjepa.interop.layout import Found, Layout, Part
from worldjepa.interop.layouts import detect
from worldjepa.interop.loading import tell
from worldjepa.interop.sizes import Ask, Shape, published_heads
from worldjepa.interop.source import Source
from worldjepa.jepa import JEPA
from worldjepa.nn.positions import Positions, SinCos
from worldjepa.predictors import MaskTokenViT
from worldjepa.train.run import own_weights
from worldjepa.train.tensors import local, piece
from worldjepa.types import Grid, Tokens

TABLE = "positions.table"
INNER = "encoder"
"""What a wrapper's node and weights call the encoder inside."""
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-4, torch.bfloat16: 8e-3, torch.float16: 1e-3}
"""How far a stored position code may be from the formula, by the type that it is stored in, to be taken for it."""


def start_from(path: str, model: JEPA) -> list[str]:
    """Copy weights into a model and return lines for the user.

    A checkpoint of ours fills the whole model. One of others fills the encoder; the target from the target encoder, where it is
    told apart; and the predictor, where there is one. Everything that is there must fit.

    Raises:
        UserError: the checkpoint cannot be read or does not fit.
    """
    if runs.is_ours(Path(path).expanduser()):
        return own_weights(path, model)
    encoder = model.encoder.loaded()
    found = _read(path, "encoder", encoder)
    _copy(_inner(found.encoder), encoder, f"{path} (encoder)")
    tell(found)
    target = model.target.released(model.encoder)
    if target is not model.encoder:
        averaged = _read(path, "target_encoder", encoder)
        _copy(_inner(averaged.encoder), target.loaded(), f"{path} (target encoder)")
    if found.predictor is None:
        return [f"encoder from {path} ({found.layout}); the predictor and everything else begin anew"]
    if found.predictor.node["_target_"] != f"{type(model.predictor).__module__}.{type(model.predictor).__qualname__}":
        kind = str(found.predictor.node["_target_"]).rpartition(".")[2]
        return [f"encoder from {path} ({found.layout}); its predictor is a {kind}, that of this model begins anew"]
    told = [f"weights from {path} ({found.layout}); everything else begins anew"]
    first, more = _first_tokens(found.predictor, model.predictor)
    _copy(first, model.predictor, f"{path} (predictor)")
    return [*told, *more]


def _read(path: str, which: str, encoder: nn.Module) -> Found:
    """What a file holds, once it is sure that it has as many heads as the encoder: its tensors would fit any number."""
    heads = _heads(encoder)
    source = Source(path)
    layout = detect(source)
    own = layout is saved.LAYOUT
    found = layout.read(source, Ask(heads=None if own else heads, which=which))
    node = _inner(found.encoder).node
    known = node.get("heads") if own else _published(node, layout, heads)
    if known != heads:
        raise UserError(
            f"{path} has {known} attention heads, the model {heads}: choose the arch that it was trained with"
        )
    return found


def _inner(part: Part) -> Part:
    """An encoder without what wraps it, as `Encoder.loaded` gives that of a model."""
    node = part.node.get(INNER)
    return part if node is None else _inner(Part(node, saved.below(part.weights, INNER)))


def _published(node: Mapping[str, Any], layout: Layout, otherwise: int | None) -> int | None:
    """The heads of the published size that a node describes."""
    width = int(node.get("dim", 0))
    shape = Shape(width, int(node.get("depth", 0)), round(width * float(node.get("mlp_ratio", 4.0))))
    return published_heads(shape, layout.family) or otherwise


def _first_tokens(part: Part, predictor: nn.Module) -> tuple[Part, list[str]]:
    """A predictor's weights with as many mask tokens as the model has, and what to tell of those that are left out."""
    theirs, own = part.weights.get("mask_token"), getattr(predictor, "mask_token", None)
    if theirs is None or own is None or not 0 < len(own) < len(theirs):
        return part, []
    told = f"the predictor's first {len(own)} of {len(theirs)} mask tokens are taken (predictor.mask_tokens)"
    return Part(part.node, {**part.weights, "mask_token": theirs[: len(own)]}), [told]


def _heads(encoder: nn.Module) -> int | None:
    """The attention heads of our vision transformer."""
    if not isinstance(encoder, ViT) or not len(encoder.blocks):
        return None
    heads: int = encoder.blocks[0].attn.heads  # type: ignore[union-attr, assignment]
    return heads


@torch.no_grad()
def _copy(part: Part, module: nn.Module, where: str) -> None:
    """Copy all weights into a module that may be sharded.

    Raises:
        UserError: lists the tensors that are missing, left over or of another shape.
    """
    own = module.state_dict()
    weights = dict(part.weights)
    if isinstance(module, CausalViT) and module.actions is not None:
        _check_reading(part, module, where)
        # How actions are normalised is what these data say.
        weights.update({f"actions.{name}": local(value) for name, value in module.actions.state_dict().items()})
    if isinstance(module, ViT | MaskTokenViT | CausalViT):
        if TABLE in own or TABLE not in weights:
            _check_code(part, module.positions, where)
        else:
            _check_formula(part, weights.pop(TABLE), module.positions, where)
    check_fit({name: tuple(value.shape) for name, value in own.items()}, weights, where)
    for name, value in weights.items():
        _copy_rows(own[name], value)


def _copy_rows(own: Tensor, value: Tensor) -> None:
    """Copy the rows of a tensor that this process holds."""
    mine = piece(own)
    rows = value if mine is None else value[mine.first : mine.first + mine.rows]
    local(own).copy_(rows)


def _check_reading(part: Part, module: CausalViT, where: str) -> None:
    """Make sure that a predictor that no tensor tells apart reads and answers as the weights have learned to.

    Raises:
        UserError: it does not; names the key.
    """
    own = {"heads": module.heads, "normalised": module.layer_normed, "lattice": module.lattice}
    for key, value in own.items():
        theirs = part.node.get(key, value)
        if theirs != value:
            raise UserError(f"{where}: it was trained with predictor.{key}={theirs}, this model has {value}")


def _check_formula(part: Part, table: Tensor, positions: Positions, where: str) -> None:
    """Make sure that a stored position code is the one that the model computes instead.

    Raises:
        UserError: it is another one, such as one that was trained.
    """
    stored: Mapping[str, Any] = part.node["positions"]
    grid, width = Grid(stored.get("times", 1), stored["height"], stored["width"]), table.shape[-1]
    formula = positions.added(Tokens(torch.zeros(grid.size, width), grid.pos()))
    apart = float((table.float() - formula).abs().max()) if table.shape == formula.shape else float("inf")
    if not apart <= CLOSE[table.dtype]:
        node = ", ".join(f"{key}: {value}" for key, value in stored.items())
        raise UserError(
            f"{where}: its position code is not the sine-cosine code that this model computes (up to {apart:.2g} apart); "
            f"give the model a stored one: arch.encoder.positions={{{node}}}"
        )


def _check_code(part: Part, positions: Positions, where: str) -> None:
    """Make sure that positions that no tensor shows are told as the weights have learned to read them.

    Raises:
        UserError: the model tells them otherwise.
    """
    node = part.node.get("positions")
    theirs = SinCos() if node is None else instantiated(node, Positions, where)  # type: ignore[type-abstract]
    if _rule(theirs) != _rule(positions):
        raise UserError(
            f"{where}: it tells positions by {_rule(theirs)}, this model by {_rule(positions)}"
            + ("; choose positions=rope_vjepa2" if getattr(theirs, "tiled", False) else "")
        )


def _rule(positions: Positions) -> str:
    """What a position code is, but for what it stores."""
    said = {name: getattr(positions, name) for name in ("axes", "tiled") if hasattr(positions, name)}
    return f"{type(positions).__name__}({', '.join(f'{name}={value}' for name, value in said.items())})"
