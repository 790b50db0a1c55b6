"""`run.init_from=`: a new run starts from a checkpoint of any layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from worldjepa.encoders import ViT
from worldjepa.errors import UserError
from worldjepa.interop import runs, saved
from worldjepa.interop.build import check_fit
from worldjepa.interop.layout import Found, Part
from worldjepa.interop.layouts import detect
from worldjepa.interop.loading import tell
from worldjepa.interop.sizes import SIZES, Ask
from worldjepa.interop.source import Source
from worldjepa.jepa import JEPA
from worldjepa.nn.positions import sincos
from worldjepa.train.run import own_weights
from worldjepa.train.tensors import local, piece
from worldjepa.types import Grid

TABLE = "positions.table"
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
    found = _read(path, "encoder", model.encoder)
    _copy(found.encoder, model.encoder, f"{path} (encoder)")
    tell(found)
    target = model.target.released(model.encoder)
    if target is not model.encoder:
        averaged = _read(path, "target_encoder", model.encoder)
        _copy(averaged.encoder, target, f"{path} (target encoder)")
    if found.predictor is None:
        return [f"encoder from {path} ({found.layout}); the predictor and everything else begin anew"]
    _copy(found.predictor, model.predictor, f"{path} (predictor)")
    return [f"weights from {path} ({found.layout}); everything else begins anew"]


def _read(path: str, which: str, encoder: nn.Module) -> Found:
    """What a file holds, once it is sure that it has as many heads as the encoder: its tensors would fit any number."""
    heads = _heads(encoder)
    source = Source(path)
    layout = detect(source)
    own = layout is saved.LAYOUT
    found = layout.read(source, Ask(heads=None if own else heads, which=which))
    node = found.encoder.node
    shape = (node.get("dim"), node.get("depth"))
    known = node.get("heads") if own else next((size.heads for size in SIZES.values() if size[:2] == shape), heads)
    if known != heads:
        raise UserError(
            f"{path} has {known} attention heads, the model {heads}: choose the arch that it was trained with"
        )
    return found


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
    if TABLE in weights and TABLE not in own:
        _check_formula(part, weights.pop(TABLE), where)
    check_fit({name: tuple(value.shape) for name, value in own.items()}, weights, where)
    for name, value in weights.items():
        _copy_rows(own[name], value)


def _copy_rows(own: Tensor, value: Tensor) -> None:
    """Copy the rows of a tensor that this process holds."""
    mine = piece(own)
    rows = value if mine is None else value[mine.first : mine.first + mine.rows]
    local(own).copy_(rows)


def _check_formula(part: Part, table: Tensor, where: str) -> None:
    """Make sure that a stored position code is the formula that the model computes instead.

    Raises:
        UserError: it is another one, such as one that was trained.
    """
    lattice: Mapping[str, int] = part.node["positions"]
    grid = Grid(1, lattice["height"], lattice["width"])
    formula = sincos(grid.pos(), table.shape[-1])
    apart = float((table.float() - formula).abs().max()) if table.shape == formula.shape else float("inf")
    if not apart <= CLOSE[table.dtype]:
        raise UserError(
            f"{where}: its position code is not the sine-cosine code that this model computes (up to {apart:.2g} apart); "
            f"give the model a stored one: arch.encoder.positions={{_target_: worldjepa.nn.positions.Table, height: {grid.h}, "
            f"width: {grid.w}, dim: {table.shape[-1]}}}"
        )
