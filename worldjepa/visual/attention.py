"""Where a token of an encoder looks: the weights of its attention, computed from the model's own queries and keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder, which_layers
from worldjepa.nn.blocks import Attention
from worldjepa.types import Grid
from worldjepa.visual.colours import heat, of_set
from worldjepa.visual.depiction import Depiction
from worldjepa.visual.sheet import Cell, Shown, legend, marked, sheet, side_of, sized, spread

MARK = of_set(1).tolist()
"""The colour of the token that looks."""


@torch.no_grad()
def attention_maps(encoder: Encoder, obs: Shaped[Tensor, "B ..."], layer: int = -1) -> Float[Tensor, "R H N N"]:
    """How much each token (the last axis but one) takes from each other one, in float32.

    The forward pass is the one that the encoder always does; what goes into its attention is written down and weighed again.
    R is B, or of encoders that look at every frame by itself B times the frames, and N a frame's tokens.

    Args:
        encoder: ours, timm's, or one that holds such a one.
        obs: observations.
        layer: which of its layers of attention.

    Raises:
        UserError: the encoder has no attention of a known kind, or no such layer.
    """
    known = [module for module in encoder.modules() if isinstance(module, Attention) or _is_timm(module)]
    if not known:
        raise UserError(f"{type(encoder).__name__} has no attention to show: this is for vision transformers")
    (number,) = which_layers([layer], len(known))
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    hook = known[number].register_forward_pre_hook(lambda _, args, named: seen.append((args, named)), with_kwargs=True)
    was_training = encoder.training
    encoder.eval()
    try:
        encoder(obs)
    finally:
        hook.remove()
        encoder.train(was_training)
    if len(seen) != 1:
        raise UserError(
            f"layer {layer} looks {len(seen)} times at one observation; only encoders that look once are shown"
        )
    args, named = seen[0]
    module = known[number]
    return module.weights(*args, **named) if isinstance(module, Attention) else _of_timm(module, args[0])


def _is_timm(module: nn.Module) -> bool:
    return type(module).__name__ == "Attention" and type(module).__module__.startswith("timm.")


def _of_timm(module: nn.Module, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B H N N"]:
    """The same of an attention of timm's vision transformers, which may norm queries and keys."""
    from timm.layers.attention import Attention as Theirs

    assert isinstance(module, Theirs)
    b, n, _ = x.shape
    qkv = module.qkv(x).reshape(b, n, 3, module.num_heads, module.head_dim).permute(2, 0, 3, 1, 4)
    q, k = module.q_norm(qkv[0]).float(), module.k_norm(qkv[1]).float()
    weights: Tensor = (q @ k.transpose(-1, -2) * module.scale).softmax(-1)
    return weights


def from_token(weights: Float[Tensor, "R H N N"], grid: Grid, token: int) -> Float[Tensor, "B H N2"]:
    """What one token of the lattice takes from all of them; no number where it cannot look.

    Raises:
        UserError: the weights are not between the tokens of this lattice.
    """
    rows, heads, _, tokens = weights.shape
    if tokens == grid.size:
        return weights[:, :, token]
    each = grid.h * grid.w
    if tokens != each or rows % grid.t:
        raise UserError(f"attention between {tokens} tokens cannot be laid on a lattice of {tuple(grid)}")
    frame, cell = divmod(token, each)
    maps = weights.new_full((rows // grid.t, heads, grid.t, each), torch.nan)
    maps[:, :, frame] = weights.reshape(-1, grid.t, *weights.shape[1:])[:, frame, :, cell]
    return maps.flatten(2)


def attention_picture(
    encoder: Encoder,
    obs: Shaped[Tensor, "B ..."],
    depiction: Depiction,
    layer: int = -1,
    heads: Sequence[int] | None = None,
    token: Sequence[int] | None = None,
) -> Shown:
    """The mean over all heads, and heads one by one, of what a token looks at.

    Args:
        encoder: a vision transformer.
        obs: the observations; all of them are shown.
        depiction: how they become pictures.
        layer: which layer.
        heads: which heads are shown; by default the first four.
        token: the one that looks, (t, h, w) on the lattice; by default that in the middle.

    Raises:
        UserError: see `attention_maps`; or there is no such head or token.
    """
    grid = encoder.grid(obs.shape[1:])
    asked = token_at(grid, token)
    every = attention_maps(encoder, obs, layer)
    maps = from_token(every, grid, asked).cpu()
    count = maps.shape[1]
    chosen = list(range(min(4, count))) if heads is None else list(heads)
    for head in chosen:
        if not 0 <= head < count:
            raise UserError(f"there is no head {head}: this layer has {count}, 0 to {count - 1}")
    places = depiction.places(grid)
    pictures = sized(depiction.pictures(obs.cpu(), grid), side_of(len(places)))
    rows: list[list[Cell]] = []
    for frames, one in zip(pictures, maps, strict=True):
        cells = [Cell(marked(frames, places == asked, MARK), "input, and the token that looks")]
        for name, share in [("mean of heads", one.mean(0)), *((f"head {head}", one[head]) for head in chosen)]:
            most = float(share.nan_to_num(0).max())
            shown = spread(heat(share.numpy()[places], 0, most), *frames.shape[1:3])
            cells.append(Cell(marked(shown, places == asked, MARK), f"{name}: up to {most:.3f}"))
        rows += [cells] if len(frames) == 1 else [[cell] for cell in cells]
    rows.append([legend("share of the attention", "0", "the most of each picture")])
    at = tuple(int(part) for part in np.unravel_index(asked, tuple(grid)))
    found = {"layer": layer, "grid": list(grid), "token": list(at), **_numbers(every, maps, grid, asked)}
    title = f"attention of token {at} in layer {layer}"
    return Shown(sheet(rows, title), _words(found), found)


def token_at(grid: Grid, token: Sequence[int] | None) -> int:
    """The number of the token at (t, h, w).

    Raises:
        UserError: it lies outside of the lattice.
    """
    at = [extent // 2 for extent in grid] if token is None else list(token)
    if len(at) != 3 or not all(0 <= place < extent for place, extent in zip(at, grid, strict=True)):
        raise UserError(
            f"token={','.join(map(str, at))} is not on the lattice of {grid.t} x {grid.h} x {grid.w} (t,h,w)"
        )
    return (at[0] * grid.h + at[1]) * grid.w + at[2]


def _numbers(every: Tensor, maps: Float[Tensor, "B H N"], grid: Grid, asked: int) -> dict[str, Any]:
    """What is known of each head: over how many tokens it looks, how far, and whether rows are shares."""
    share = maps.nan_to_num(0).double()
    effective = (-(share * share.clamp_min(1e-30).log()).sum(-1)).exp()  # [B, H]
    pos = grid.pos()
    distance = (share * (pos - pos[asked]).norm(dim=-1)).sum(-1)  # [B, H]
    return {
        "heads": maps.shape[1],
        "effective_tokens": effective.mean(0).tolist(),
        "distance": distance.mean(0).tolist(),
        "own_share": share[..., asked].mean(0).tolist(),
        "largest_error_of_a_row_sum": float((every.double().sum(-1) - 1).abs().max()),
    }


def _words(found: dict[str, Any]) -> str:
    tokens = int(np.prod(found["grid"]))
    lines = [
        f"attention of token {tuple(found['token'])} of {tokens} in layer {found['layer']}, mean over observations"
    ]
    for head in range(found["heads"]):
        lines.append(
            f"head {head}: looks at as many as {found['effective_tokens'][head]:.1f} tokens, {found['distance'][head]:.2f} "
            f"cells away on average, {100 * found['own_share'][head]:.1f} % at itself"
        )
    return "\n".join(lines)
