"""Dynamics of worlds that many tokens describe: a vision transformer that looks back, but never ahead."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldjepa.dynamics import Dynamics
from worldjepa.errors import UserError
from worldjepa.nn.actions import ActionSpec
from worldjepa.nn.blocks import NORM_EPS, Transformer
from worldjepa.nn.init import Scheme, initialise
from worldjepa.nn.positions import Positions
from worldjepa.nn.rotary import Rotary
from worldjepa.types import Tokens


@final
class CausalViT(Dynamics):
    """Each frame is a token for its action followed by its patches; what comes out at a patch is predicted of the next frame.

    Every token sees all tokens of its own frame and of the frames before it. Each state that `actions` speaks of is another
    token, between action and patches. These tokens stand at the time of their frame and nowhere in it, which rotary positions
    take for row and column 0.

    Args:
        input_dim: width of the frames' tokens, D.
        dim: width of the transformer.
        depth: number of blocks.
        heads: attention heads; must divide `dim`.
        mlp_ratio: hidden width of the MLPs over `dim`.
        history: frames that a prediction is made from.
        positions: how tokens tell where they stand; by default rotary, so that only distances in time count.
        init: see `worldjepa.nn.init.initialise`.
        actions: what acts between frames, and what states go with it.
        normalised: layer-norm predictions over their features, without affine parameters: for encoders whose representations
            are layer-normed.
        lattice: rows and columns of the frames of the training; frames of another size are stretched to it. By default rows
            and columns are counted as they come.

    Source: V-JEPA 2 (arXiv 2506.09985), section 3.1: the sequence and the block-causal attention of V-JEPA 2-AC.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int = 192,
        depth: int = 6,
        heads: int = 6,
        mlp_ratio: float = 4.0,
        history: int = 3,
        positions: Positions | None = None,
        init: Scheme = "normal",
        actions: ActionSpec | None = None,
        normalised: bool = False,
        lattice: int | None = None,
    ) -> None:
        super().__init__(input_dim, history, actions)
        if dim % heads:
            raise UserError(f"predictor width {dim} does not divide among {heads} heads")
        if lattice is not None and lattice < 1:
            raise UserError(f"predictor.lattice must be at least 1, not {lattice}")
        self.dim, self.heads, self.layer_normed, self.lattice = dim, heads, normalised, lattice
        self.positions = Rotary("thw") if positions is None else positions
        self.positions.check(dim, heads)
        self.predictor_embed = nn.Linear(input_dim, dim)
        self.action_encoder = None if actions is None else nn.Linear(actions.width, dim)
        states = [] if actions is None else actions.parts[1:]
        self.state_encoders = nn.ModuleList(nn.Linear(count, dim) for count in states)
        self.predictor_blocks = Transformer(dim, depth, heads, mlp_ratio)
        self.predictor_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(dim, input_dim)
        initialise(self, init)

    def ahead(
        self, frames: Float[Tensor, "R T n D"], pos: Float[Tensor, "n 2"], acting: Float[Tensor, "R T W"], answers: int
    ) -> Float[Tensor, "R A n D"]:
        """The frames that follow the last `answers` of the given ones."""
        later = frames.shape[1] - self.history
        if later <= 0:
            return self._pass(frames, pos, acting, answers)
        # Through several blocks a frame would hear of more than `history` frames; so each gets a sequence of its own.
        count = min(later, answers)
        starts = torch.arange(later - count + 1, later + 1, device=pos.device)
        window = starts[:, None] + torch.arange(self.history, device=pos.device)  # [A, history]
        own = (x[:, window].flatten(0, 1) for x in (frames, acting))
        found = self._pass(next(own), pos, next(own), 1).view(len(frames), count, *frames.shape[2:])
        if count == answers:
            return found
        first = self._pass(frames[:, : self.history], pos, acting[:, : self.history], answers - count)
        return torch.cat([first, found], 1)

    def _pass(
        self, frames: Float[Tensor, "R T n D"], pos: Float[Tensor, "n 2"], acting: Float[Tensor, "R T W"], answers: int
    ) -> Float[Tensor, "R A n D"]:
        """The same for no more than `history` frames, in one sequence."""
        r, t, n, _ = frames.shape
        x = self.predictor_embed(frames)  # [R, T, n, P]
        time = torch.arange(t, device=pos.device, dtype=pos.dtype)[:, None, None]
        where = torch.cat([time.expand(t, n, 1), self._stretched(pos).expand(t, n, 2)], -1)  # [T, n, 3]
        before = self._conditions(acting.to(frames.dtype))
        x = torch.cat([*before, x], 2)  # [R, T, each, P]
        where = torch.cat([F.pad(time, (0, 2)).expand(t, len(before), 3), where], 1)
        each = x.shape[2]
        place = where.flatten(0, 1).expand(r, -1, -1)  # [R, T*each, 3]
        tokens = self.positions.added(Tokens(x.flatten(1, 2), place))  # [R, T*each, P]
        rotation = self.positions.rotation(place, self.dim // self.heads)
        looks = looks_back(t, each, frames.device)
        out = self.predictor_blocks(tokens, answers * each, rotation, looks)  # [R, A*each, P]
        patches = out.unflatten(1, (answers, each))[:, :, each - n :]
        predicted: Tensor = self.predictor_proj(self.predictor_norm(patches))
        return F.layer_norm(predicted, predicted.shape[-1:]) if self.layer_normed else predicted

    def _conditions(self, acting: Float[Tensor, "R T W"]) -> list[Float[Tensor, "R T 1 P"]]:
        """The tokens that precede the patches of each frame."""
        if self.actions is None or self.action_encoder is None:
            return []
        layers = [self.action_encoder, *self.state_encoders]
        parts = torch.split(acting, self.actions.parts, -1)
        return [layer(part)[:, :, None] for layer, part in zip(layers, parts, strict=True)]

    def _stretched(self, pos: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
        """Rows and columns in units of those of the training."""
        return pos if self.lattice is None else pos * self.lattice / (pos.amax(0) + 1)


def looks_back(frames: int, each: int, device: torch.device) -> Bool[Tensor, "N N"]:
    """Which token may attend to which: to those of its own frame and of the frames before it."""
    time = torch.arange(frames, device=device).repeat_interleave(each)
    return time[:, None] >= time
