"""Self-distillation over prototypes: student, teacher and what tells them apart (iBOT).

Answers are distributions over prototypes, which exist for the teacher alone to choose from: what a prototype stands for is
learnt. Beside the tokens that are asked for there is a question about the whole, which stands nowhere on the lattice.
"""

from __future__ import annotations

import copy
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder, Objective, Predictor
from worldjepa.nn.init import Scheme, initialise
from worldjepa.nn.positions import Positions
from worldjepa.nn.ranks import mean_over_ranks
from worldjepa.objectives import check_views, paired
from worldjepa.predictors import MaskTokenViT
from worldjepa.targets import Averaged, follow
from worldjepa.types import Masks, Tokens

NOWHERE = -1.0
"""All coordinates of a question about the whole."""


class Head(nn.Module):
    """The cosines of a representation with each prototype, after three layers that end in a bottleneck.

    Args:
        input_dim: width of the representations, D.
        prototypes: how many there are, P.
        hidden: width of the two hidden layers.
        bottleneck: width of the space that the prototypes lie in.

    Source: DINO (arXiv 2104.14294), appendix C; iBOT (arXiv 2111.07832) shares one head between tokens and views.
    """

    def __init__(self, input_dim: int, prototypes: int, hidden: int, bottleneck: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Linear(input_dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden, bottleneck))
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, x: Float[Tensor, "*b D"]) -> Float[Tensor, "*b P"]:
        """The cosines, in float32."""
        z = self.net(x)
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(F.normalize(z.float(), dim=-1), F.normalize(self.prototypes.float(), dim=-1))


@final
class Prototypes(Predictor):
    """The student: scores over prototypes, of tokens by a mask-token ViT, of the whole by the mean of the context.

    Args:
        input_dim: width of the context, D.
        dim: width of the vision transformer, see `MaskTokenViT`.
        depth: its blocks.
        heads: its attention heads.
        positions: how its tokens tell where they stand.
        init: see `worldjepa.nn.init.initialise`.
        prototypes: how many there are, P.
        hidden: width of the head's hidden layers.
        bottleneck: width of the space that the prototypes lie in.
        temperature: divides the scores.

    Raises:
        UserError: a number is out of its range.

    Source: iBOT (arXiv 2111.07832), section 3.
    """

    def __init__(
        self,
        input_dim: int,
        dim: int = 384,
        depth: int = 6,
        heads: int = 12,
        positions: Positions | None = None,
        init: Scheme = "normal",
        prototypes: int = 8192,
        hidden: int = 2048,
        bottleneck: int = 256,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if min(prototypes - 1, hidden, bottleneck) < 1 or temperature <= 0:
            raise UserError(
                f"predictor.prototypes must be at least 2, hidden and bottleneck 1, temperature positive: "
                f"prototypes={prototypes}, hidden={hidden}, bottleneck={bottleneck}, temperature={temperature}"
            )
        self.tokens = MaskTokenViT(input_dim, dim, depth, heads, positions=positions, init=init)
        self.head = Head(input_dim, prototypes, hidden, bottleneck)
        initialise(self.head, init)
        self.temperature = temperature

    def forward(
        self, context: Tokens, query: Float[Tensor, "B M Q 3"], cond: Tokens | None = None, mask: int = 0
    ) -> Tokens:
        """Scores x `[B, M, Q, P]`, whose softmax is the distribution, in float32."""
        tokens = self.tokens(context, query, cond, mask)  # the question about the whole is a token among them
        whole = context.x.mean(-2, keepdim=True).to(tokens.x.dtype)  # [B, C, 1, D]
        x = torch.where(query[..., :1] < 0, whole, tokens.x)
        return Tokens(self.head(x) / self.temperature, query)


@final
class Teacher(Averaged):
    """Moving averages of encoder and head; the answers are distributions over prototypes, centred and sharpened.

    The whole observation is seen. The first answer of each set is for the whole, the mean of all tokens; those for the tokens
    that are asked follow. Centres keep one prototype from winning always, a low temperature keeps all from being alike.

    Args:
        encoder: the encoder to follow; it is copied.
        predictor: the student, whose head is followed.
        steps: length of the schedules in optimiser steps.
        start: momentum at step 0.
        end: momentum at step `steps`, reached linearly.
        cold: temperature at step 0.
        warm: temperature at the end of the warm-up, reached linearly.
        warm_up: its length as a share of `steps`.
        centring: momentum of the two centres, of the whole and of tokens.

    Raises:
        UserError: the predictor has no head of prototypes, or a number is out of its range.

    Source: iBOT (arXiv 2111.07832), section 3 and its repository's defaults; DINO (arXiv 2104.14294), section 3.1.
    """

    centres: Tensor
    sums: Tensor
    count: Tensor
    temperature: Tensor

    def __init__(
        self,
        encoder: Encoder,
        predictor: Predictor,
        steps: int,
        start: float = 0.996,
        end: float = 1.0,
        cold: float = 0.04,
        warm: float = 0.07,
        warm_up: float = 0.1,
        centring: float = 0.9,
    ) -> None:
        super().__init__(encoder, steps, start, end)
        if not isinstance(predictor, Prototypes):
            raise UserError(f"target=ibot follows the head of predictor=ibot; {type(predictor).__name__} has none")
        if not (0 < cold <= warm and 0 <= warm_up <= 1 and 0 <= centring <= 1):
            raise UserError(
                f"target needs 0 < cold <= warm, and warm_up and centring from 0 to 1: cold={cold}, warm={warm}, "
                f"warm_up={warm_up}, centring={centring}"
            )
        self._theirs = (predictor.head,)  # in a tuple: it is no part of this one
        self.head = copy.deepcopy(predictor.head).requires_grad_(False)
        self.cold, self.warm, self.centring = cold, warm, centring
        self.warm_steps = warm_up * self.steps
        prototypes = len(self.head.prototypes)
        self.register_buffer("centres", torch.zeros(2, prototypes))
        self.register_buffer("sums", torch.zeros(2, prototypes))
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("temperature", torch.tensor(self.temperature_at(0)))

    def temperature_at(self, step: int) -> float:
        """The temperature of optimiser step `step`, 0-based."""
        return self.warm if step >= self.warm_steps else self.cold + (self.warm - self.cold) * step / self.warm_steps

    def forward(self, obs: Tensor | Tokens, masks: list[Masks]) -> list[Tokens]:
        """Logarithms of probabilities x `[B, M, 1 + Q, P]`, in float32."""
        with torch.no_grad():
            tokens: Tokens = self.encoder(obs)
            scores = [self._scores(tokens, mask) for mask in masks]
        if torch.is_grad_enabled():  # a training step, not a measurement
            for x, _ in scores:
                self._count(x.detach())
        return [Tokens(self._sharpened(x), pos) for x, pos in scores]

    def _scores(self, tokens: Tokens, mask: Masks) -> Tokens:
        asked = tokens.select(mask.target)  # [B, M, Q, D]
        whole = tokens.x.mean(1)[:, None, None].expand(-1, asked.x.shape[1], 1, -1)
        pos = torch.full_like(asked.pos[:, :, :1], NOWHERE)
        return Tokens(self.head(torch.cat([whole, asked.x], 2)), torch.cat([pos, asked.pos], 2))

    def _sharpened(self, x: Float[Tensor, "B M Q P"]) -> Float[Tensor, "B M Q P"]:
        centres = torch.cat([self.centres[:1], self.centres[1:].expand(x.shape[2] - 1, -1)])  # [1 + Q, P]
        return ((x - centres) / self.temperature).log_softmax(-1)

    def _count(self, x: Float[Tensor, "B M Q P"]) -> None:
        """Take note of a batch's mean scores, for the centres to move when the step is taken."""
        mean = mean_over_ranks(torch.stack([x[:, :, 0].mean((0, 1)), x[:, :, 1:].mean((0, 1, 2))]))
        # A step whose numbers are not finite is skipped, and must leave nothing behind.
        fine = mean.isfinite().all()
        self.sums += torch.where(fine, mean, 0.0)
        self.count += fine

    @torch.no_grad()
    def update(self, encoder: Encoder, step: int) -> dict[str, float]:
        """Follow encoder and head, move the centres to the scores of this step, and set the next step's temperature."""
        moved = super().update(encoder, step)
        (head,) = self._theirs
        follow(self.head, head, moved["ema"])
        mean = torch.where(self.count > 0, self.sums / self.count.clamp_min(1), self.centres)
        self.centres.lerp_(mean, 1 - self.centring)
        self.sums.zero_()
        self.count.zero_()
        self.temperature.fill_(self.temperature_at(step + 1))
        return {**moved, "teacher_temperature": self.temperature_at(step)}


@final
class CrossEntropy(Objective):
    """Cross-entropy of the student's distributions with the teacher's: of each asked token, and of the whole across views.

    The whole of each view is held against that of every other view of the sample, never against its own.

    Args:
        tokens: weight of the term of the tokens.
        views: weight of the term of the views.

    Source: iBOT (arXiv 2111.07832), equations 2 and 3.
    """

    def __init__(self, tokens: float = 1.0, views: float = 1.0) -> None:
        super().__init__()
        self.tokens, self.views = tokens, views

    @property
    def least_views(self) -> int:
        """Two."""
        return 2

    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        """Return `{"tokens": scalar, "views": scalar}`.

        Raises:
            UserError: there is one view.
        """
        scores, answers = paired(pred, target)  # [B, V, 1 + Q, P]
        views = scores.shape[1]
        check_views(self, views)
        said, truth = scores.log_softmax(-1), answers.exp()
        tokens = -(truth[:, :, 1:] * said[:, :, 1:]).sum(-1).mean()
        each = -torch.einsum("bvp,bwp->vw", said[:, :, 0], truth[:, :, 0]) / len(said)  # [V, V]
        across = (each.sum() - each.trace()) / (views * (views - 1))
        return {"tokens": self.tokens * tokens, "views": self.views * across}
