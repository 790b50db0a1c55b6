"""Where a model believes that a thing belongs: what it predicts at a hidden place, compared with what is at each place."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from worldjepa.distillation import Prototypes
from worldjepa.errors import UserError
from worldjepa.interfaces import Predictor
from worldjepa.jepa import JEPA
from worldjepa.types import Masks, Tokens
from worldjepa.visual.colours import heat, of_set
from worldjepa.visual.depiction import Depiction
from worldjepa.visual.masks import members, painted
from worldjepa.visual.sheet import Cell, Shown, legend, marked, sheet, side_of, sized, spread

MARK = of_set(1).tolist()
"""The colour of the true place."""


class Similarity(NamedTuple):
    """Cosines of what is predicted at each of Q hidden places with what is at each of N places."""

    cosine: Float[Tensor, "B M Q N"]
    true: Int[Tensor, "B M Q"]
    """The number of the place that was asked for."""

    @property
    def rank(self) -> Int[Tensor, "B M Q"]:
        """How many places fit no worse than the true one, itself included: 1 is best, (N + 1) / 2 is chance."""
        own = self.cosine.gather(-1, self.true[..., None])
        return (self.cosine >= own).sum(-1)


@torch.no_grad()
def similarity(
    model: JEPA, obs: Shaped[Tensor, "B ..."], masks: Masks, cond: Tokens | None = None, mask: int = 0
) -> Similarity:
    """Ask the predictor at the targets of masks, and compare with the answers for all places.

    Where a target encoder sees in training no more than is asked, here all is asked, and so all is seen.

    Args:
        model: encoder, predictor and target encoder.
        obs: observations.
        masks: what is seen and asked.
        cond: the condition, for predictors that take one.
        mask: which of a step's masks this is, for predictors that tell them apart.

    Raises:
        UserError: the model gives no answers to compare with, or distributions over prototypes.
    """
    if any(isinstance(member, Prototypes) for member in model.predictor.members()):
        raise UserError("similarity compares representations, but this predictor gives scores of prototypes")
    was_training = model.training
    model.eval()
    try:
        tokens = model.encoder.grid(obs.shape[1:]).size
        every = torch.arange(tokens, device=masks.target.device).expand(len(obs), 1, -1)
        (answers,) = model.target(obs, [Masks(masks.context, every)])
        if answers.x.shape[-1] == 0:
            raise UserError(
                f"similarity needs answers for places; {type(model.target).__name__} gives none (views answer one another)"
            )
        query = answers.pos[:, 0][torch.arange(len(obs))[:, None, None], masks.target]  # [B, M, Q, 3]
        context = model.encoder(obs, keep=masks.context)
        members = cast(list[Predictor], model.predictor.members())
        predicted = torch.stack([member(context, query, cond, mask).x.float() for member in members]).mean(0)
    finally:
        model.train(was_training)
    known = F.normalize(answers.x[:, 0].float(), dim=-1)  # [B, N, D']
    cosine = torch.einsum("bmqd,bnd->bmqn", F.normalize(predicted, dim=-1), known)
    return Similarity(cosine, masks.target)


def similarity_picture(
    model: JEPA,
    obs: Shaped[Tensor, "B ..."],
    masks: Masks,
    depiction: Depiction,
    cond: Tokens | None = None,
    mask: int = 0,
    shown: int = 4,
) -> Shown:
    """For some observations what is seen, one hidden place, and how well each place fits what is predicted there.

    The place is that in the middle of the first target set.

    Args:
        model: see `similarity`.
        obs: the observations that the numbers are taken from.
        masks: see `similarity`.
        depiction: how observations become pictures.
        cond: see `similarity`.
        mask: see `similarity`.
        shown: how many of the observations are shown.

    Raises:
        UserError: see `similarity`.
    """
    found = similarity(model, obs, masks, cond, mask)
    grid = model.encoder.grid(obs.shape[1:])
    places = depiction.places(grid)
    pictures = sized(depiction.pictures(obs[:shown].cpu(), grid), side_of(len(places)))
    ranks = found.rank.cpu()
    rows: list[list[Cell]] = []
    for index, frames in enumerate(pictures):
        middle = _middle(grid.pos()[found.true[index, 0].cpu()])
        here = places == int(found.true[index, 0, middle])
        seen = members(masks.context[index : index + 1, :1].cpu(), grid.size)[0, 0]
        cosine = found.cosine[index, 0, middle].cpu().numpy()
        fits = spread(heat(cosine[places], float(cosine.min()), float(cosine.max())), *frames.shape[1:3])
        nothing = np.zeros((0, *places.shape), bool)
        own = float(cosine[int(found.true[index, 0, middle])])
        told = f"rank {int(ranks[index, 0, middle])} of {grid.size}; cosine there {own:.2f}, at best {cosine.max():.2f}"
        cells = [
            Cell(marked(frames, here, MARK), "input, and the place"),
            Cell(marked(painted(frames, seen[places], nothing), here, MARK), "what is seen"),
            Cell(marked(fits, here, MARK), told),
        ]
        rows += [cells] if len(frames) == 1 else [[cell] for cell in cells]
    rows.append([legend("cosine with what is predicted for the framed place", "least", "largest of each picture")])
    numbers = _numbers(found, ranks)
    title = "what is predicted for a hidden place: where does it fit?"
    return Shown(sheet(rows, title), _words(numbers), numbers)


def _middle(pos: Float[Tensor, "Q 3"]) -> int:
    """The place that lies nearest to the middle of all."""
    return int((pos - pos.mean(0)).square().sum(-1).argmin())


def _numbers(found: Similarity, ranks: Int[Tensor, "B M Q"]) -> dict[str, Any]:
    places = found.cosine.shape[-1]
    own = found.cosine.gather(-1, found.true[..., None])
    return {
        "places": places,
        "asked": ranks.numel(),
        "mean_rank": float(ranks.double().mean()),
        "median_rank": float(ranks.double().median()),
        "chance_rank": (places + 1) / 2,
        "first": float((ranks == 1).double().mean()),
        "chance_first": 1 / places,
        "cosine_true": float(own.mean()),
        "cosine_all": float(found.cosine.mean()),
    }


def _words(numbers: dict[str, Any]) -> str:
    return (
        f"{numbers['asked']} hidden places, each compared with {numbers['places']}\n"
        f"rank of the true place: mean {numbers['mean_rank']:.1f}, median {numbers['median_rank']:.0f}; chance is "
        f"{numbers['chance_rank']:.1f}\n"
        f"the true place fits best in {100 * numbers['first']:.1f} %; chance is {100 * numbers['chance_first']:.1f} %\n"
        f"cosine with what is at the true place {numbers['cosine_true']:.3f}, with what is at any {numbers['cosine_all']:.3f}"
    )
