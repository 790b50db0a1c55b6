"""Contract checks: what a part promises beyond its signature, checked on any subclass, the shipped ones and yours.

    from worldjepa.testing import check

    check(MySampler())
    check(MyEncoder(), obs=torch.rand(2, 3, 32, 32))

A broken promise raises `ContractError`, whose message names it. Checks work on copies: the part and all global
generators are as before. Toy sizes suffice; batches need at least two samples.
"""

from __future__ import annotations

import copy
import math
import pickle
import random as python_random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from worldjepa.data import DataSource, Observations
from worldjepa.data.views import Conditioned, View
from worldjepa.interfaces import Encoder, MaskSampler, Objective, Predictor, TargetEncoder, Tokenizer
from worldjepa.types import Grid, Masks, Tokens

__all__ = [
    "ContractError",
    "check",
    "check_encoder",
    "check_objective",
    "check_observations",
    "check_predictor",
    "check_sampler",
    "check_source",
    "check_target",
    "check_tokenizer",
]

GRIDS = (Grid(1, 14, 14), Grid(1, 16, 16), Grid(1, 8, 8))
"""What samplers are asked to draw on, unless told otherwise."""

PLANE = Grid(1, 4, 4)
"""Where predictions, answers and contexts of objectives stand, unless told otherwise."""

Module = TypeVar("Module", bound=nn.Module)
Run = Callable[[Any], list[Tensor]]
"""Calls a module, or its compiled form, on fixed samples."""


class ContractError(AssertionError):
    """A part breaks a promise of its interface."""


def check(part: object, **samples: Any) -> None:
    """Check every promise of the interface that `part` implements.

    Args:
        part: an instance of a subclass of an interface in `worldjepa.interfaces` or `worldjepa.data`.
        samples: what to check it on; see the function for the interface, such as `check_encoder`.

    Raises:
        ContractError: a promise is broken; the message names it.
        TypeError: `part` implements no interface, or a sample is missing or unknown.
    """
    for kind, function in CHECKS.items():
        if isinstance(part, kind):
            with _globals_restored():
                function(part, **samples)
            return
    raise TypeError(f"{type(part).__name__} is none of {', '.join(kind.__name__ for kind in CHECKS)}")


class Subject:
    """The part under check, and how its broken promises are told."""

    def __init__(self, part: object) -> None:
        self.name = type(part).__name__

    def broken(self, promise: str, why: str) -> ContractError:
        """The error for a broken promise."""
        return ContractError(f"{self.name} breaks the promise '{promise}': {why}")

    def holds(self, kept: bool, promise: str, why: str) -> None:
        """Raise unless the promise was kept."""
        if not kept:
            raise self.broken(promise, why)

    def same(self, first: Sequence[Tensor], second: Sequence[Tensor], promise: str, why: str) -> None:
        """Raise unless the tensors are bitwise equal."""
        if not _all_equal(first, second):
            raise self.broken(promise, f"{why}{_largest(first, second)}")

    def close(self, first: Sequence[Tensor], second: Sequence[Tensor], promise: str, why: str) -> None:
        """Raise unless the tensors are equal up to rounding."""
        if len(first) != len(second) or not all(map(_near, first, second)):
            raise self.broken(promise, f"{why}{_largest(first, second)}")

    def differ(self, first: Sequence[Tensor], second: Sequence[Tensor], promise: str, why: str) -> None:
        """Raise if the tensors are equal up to rounding."""
        self.holds(not all(map(_near, first, second)), promise, why)

    def shape(self, tensor: Tensor, expected: tuple[int, ...], promise: str, what: str) -> None:
        """Raise unless the tensor has this shape."""
        got = tuple(tensor.shape)
        self.holds(got == expected, promise, f"{what} has the shape {list(got)}, expected {list(expected)}")


# --- mask samplers ---------------------------------------------------------------------------------------------------


def check_sampler(
    sampler: MaskSampler,
    *,
    grids: Sequence[Grid] = GRIDS,
    batch: int = 4,
    disjoint: bool = True,
    random: bool = True,
) -> None:
    """Check the promises of a mask sampler.

    Args:
        sampler: the sampler.
        grids: lattices that its settings can be met on.
        batch: samples to draw for, at least 2.
        disjoint: a target token is never part of its own context.
        random: masks differ between generators and between samples (not so where the mask hides the future, say).
    """
    subject = Subject(sampler)
    sampler, revived = copy.deepcopy(sampler), _pickled(subject, sampler)
    _check_repeatable(subject, sampler, grids[0], grids[-1], batch)
    for grid in grids:
        drawn = _draw(subject, sampler, grid, batch, seed=0)
        theirs = _draw(subject, revived, grid, batch, seed=0)
        subject.same(_flat(drawn), _flat(theirs), "pickles", f"a pickled copy draws other masks on {grid}")
        for masks in drawn:
            _check_masks(subject, masks, grid, batch, disjoint)
        for masks in _draw(subject, sampler, grid, 1, seed=0):
            _check_masks(subject, masks, grid, 1, disjoint)
        if random:
            _check_randomness(subject, sampler, grid, batch, drawn)


def _draw(subject: Subject, sampler: MaskSampler, grid: Grid, batch: int, seed: int) -> list[Masks]:
    before = _global_states()
    masks = sampler(grid, batch, _generator(seed))
    moved = [name for name, state in _global_states().items() if state != before[name]]
    subject.holds(not moved, "leaves global generators alone", f"drawing moved that of {', '.join(moved)}")
    return masks


def _check_masks(subject: Subject, masks: Masks, grid: Grid, batch: int, disjoint: bool) -> None:
    context, target = masks.context, masks.target
    for name, sets in (("context", context), ("target", target)):
        subject.holds(
            sets.dtype == torch.int64 and sets.ndim == 3 and sets.shape[0] == batch,
            "index sets are int64 [B, sets, tokens]",
            f"{name} is {sets.dtype} {list(sets.shape)} for a batch of {batch} on {grid}",
        )
        subject.holds(sets.numel() > 0, "no set is empty", f"{name} has the shape {list(sets.shape)} on {grid}")
        subject.holds(
            not bool(((sets < 0) | (sets >= grid.size)).any()),
            "indices name tokens of the grid",
            f"{name} runs from {int(sets.min())} to {int(sets.max())}; {grid} has {grid.size} tokens",
        )
        ordered = sets.sort(-1).values
        repeats = int((ordered[..., 1:] == ordered[..., :-1]).sum())
        subject.holds(repeats == 0, "a set names a token once", f"{name} holds {repeats} repeated indices on {grid}")
    c, m = context.shape[1], target.shape[1]
    subject.holds(c in (1, m), "one context for all targets, or one for each", f"{c} contexts for {m} targets")
    if disjoint:
        shared = int((_members(context, grid.size) & _members(target, grid.size)).sum())
        subject.holds(
            shared == 0,
            "context and target are disjoint",
            f"{shared} tokens are in both on {grid} (where that is meant: check(..., disjoint=False))",
        )


def _check_randomness(subject: Subject, sampler: MaskSampler, grid: Grid, batch: int, drawn: list[Masks]) -> None:
    others = [_flat(_draw(subject, sampler, grid, batch, seed)) for seed in (1, 2, 3)]
    subject.holds(
        any(not _all_equal(_flat(drawn), other) for other in others),
        "another generator, other masks",
        f"four generators gave the same masks on {grid} (where that is meant: check(..., random=False))",
    )
    alike = all(bool((sets == sets[:1]).all()) for sets in [*_flat(drawn), *others[0], *others[1]])
    subject.holds(not alike, "samples get masks of their own", f"all samples of a batch have the same masks on {grid}")


def _check_repeatable(subject: Subject, sampler: MaskSampler, first: Grid, second: Grid, batch: int) -> None:
    calls = [(first, batch, 0), (second, batch + 1, 1)]
    one, other = copy.deepcopy(sampler), copy.deepcopy(sampler)
    masks = [_flat(_draw(subject, fresh, *calls[0])) for fresh in (one, other)]
    subject.same(masks[0], masks[1], "same generator, same masks", f"two equal samplers differ on {first}")
    forward = [_flat(_draw(subject, one, *call)) for call in calls]
    backward = [_flat(_draw(subject, sampler, *call)) for call in reversed(calls)][::-1]
    subject.holds(
        all(map(_all_equal, forward, backward)),
        "no memory between calls",
        f"masks on {first} and {second} depend on what was drawn before",
    )


def _members(sets: Int[Tensor, "B S K"], n: int) -> Bool[Tensor, "B S N"]:
    return torch.zeros(*sets.shape[:2], n, dtype=torch.bool).scatter_(-1, sets, True)


def _flat(drawn: list[Masks]) -> list[Tensor]:
    return [sets for masks in drawn for sets in masks]


# --- tokenizers and encoders -----------------------------------------------------------------------------------------


def check_tokenizer(tokenizer: Tokenizer, *, obs: Tensor) -> None:
    """Check the promises of a tokenizer on observations `[B, ...]`."""
    subject, tokenizer = Subject(tokenizer), _copied(tokenizer)
    _needs_two(obs)
    tokens, grid = tokenizer(obs), tokenizer.grid(obs.shape[1:])
    subject.shape(tokens.x, (len(obs), grid.size, tokenizer.dim), "as many tokens as the grid, as wide as `dim`", "x")
    subject.holds(tokens.x.is_floating_point(), "tokens are floating-point", f"x is {tokens.x.dtype}")
    expected = grid.pos(obs.device).expand(len(obs), -1, -1)
    subject.same([tokens.pos], [expected], "positions are the grid's, row by row", f"pos is not that of {grid}")
    if type(tokenizer).pieces is not Tokenizer.pieces:
        pieces = tokenizer.pieces(obs)
        subject.shape(pieces.x, (len(obs), grid.size, tokenizer.piece_dim), "a piece for every token", "x")
        subject.same([pieces.pos], [expected], "pieces stand where their tokens do", f"pos is not that of {grid}")
    alone = tokenizer(obs[:1]).x
    subject.close([tokens.x[:1]], [alone], "samples do not see one another", "a sample alone gives other tokens")
    subject.differ([tokens.x], [tokenizer(_other(obs)).x], "what is seen has influence", "another obs, the same tokens")
    _check_module(subject, tokenizer, lambda module: [module(obs).x])


def check_encoder(
    encoder: Encoder,
    *,
    obs: Tensor | Tokens,
    footprint: Int[Tensor, "*obs"] | None = None,
    causal: bool = False,
    compiled: bool = True,
) -> None:
    """Check the promises of an encoder.

    Args:
        encoder: the encoder.
        obs: observations `[B, ...]`, or tokens of the level below.
        footprint: for each value of one observation, the token that it belongs to; by default the axes of the grid are
            laid over the last axes of the observation.
        causal: nothing that happens later changes what represents a time.
        compiled: also compare with the compiled encoder, which takes seconds.
    """
    subject, encoder = Subject(encoder), _copied(encoder)
    values = obs.x if isinstance(obs, Tokens) else obs
    _needs_two(values)
    pos = obs.pos if isinstance(obs, Tokens) else encoder.grid(obs.shape[1:]).pos(obs.device)
    n = pos.shape[-2]
    pos = pos.expand(len(values), n, 3)
    keep = _two_sets(len(values), n)
    whole, kept = encoder(obs), encoder(obs, keep)

    subject.shape(whole.x, (len(values), n, encoder.dim), "without `keep`, all tokens", "x")
    subject.shape(kept.x, (*keep.shape, encoder.dim), "with `keep`, the kept tokens of every set", "x")
    chosen = Tokens(pos, pos).select(keep).pos
    subject.same([whole.pos, kept.pos], [pos, chosen], "tokens keep their positions", "pos is not that of the tokens")

    if type(encoder).layers is not Encoder.layers:
        _check_layers(subject, encoder, obs, whole)
    if footprint is None:
        grid = Grid(n) if isinstance(obs, Tokens) else encoder.grid(obs.shape[1:])
        footprint = _default_footprint(grid, values.shape[1:], isinstance(obs, Tokens))
    _check_visibility(subject, encoder, obs, keep, kept.x, footprint)
    if causal:
        _check_causal_encoder(subject, encoder, obs, whole, footprint)

    _check_layers(subject, encoder, obs, whole)

    backwards = encoder(obs, keep.flip(-1))
    subject.close(
        [kept.x], [backwards.x.flip(-2)], "the order of `keep` is the order of the tokens", "flipping it changes more"
    )
    alone = encoder(_rows(obs, 1), keep[:1])
    subject.close([kept.x[:1]], [alone.x], "samples do not see one another", "a sample alone is encoded otherwise")

    def run(module: Encoder) -> list[Tensor]:
        return [module(obs).x, module(obs, keep).x]

    # An encoder that is given tokens has no use for its tokenizer's weights.
    _check_module(subject, encoder, run, gradient=not isinstance(obs, Tokens))
    _check_low_precision(subject, encoder, run)
    if compiled:
        _check_compiled(subject, encoder, lambda module: [module(obs, keep).x])


def _check_layers(subject: Subject, encoder: Encoder, obs: Tensor | Tokens, whole: Tokens) -> None:
    layers = encoder.layers(obs)
    for one in layers:
        subject.shape(one.x, tuple(whole.x.shape), "every layer has all tokens, as wide as `dim`", "x")
    subject.same([whole.x, whole.pos], list(layers[-1]), "the last layer is what `forward` returns", "it is not")
    ends = encoder.layers(obs, [-1, 0])
    subject.same(
        [layers[-1].x, layers[0].x], [one.x for one in ends], "`wanted` chooses layers", "last and first are others"
    )
    try:
        encoder.layers(obs, [len(layers)])
    except ValueError:
        pass
    else:
        raise subject.broken("a layer that is not there is refused", f"layer {len(layers)} of {len(layers)}")
    held = sorted(id(parameter) for stage in encoder.stages() for parameter in stage)
    own = sorted(id(parameter) for parameter in encoder.parameters())
    subject.holds(held == own, "stages hold every parameter once", f"{len(held)} in stages, {len(own)} in all")


def _check_visibility(
    subject: Subject, encoder: Encoder, obs: Tensor | Tokens, keep: Tensor, before: Tensor, footprint: Tensor
) -> None:
    n = int(footprint.max()) + 1
    member = _members(keep, n)  # [B, 2, N]

    def encode(tokens: Tensor) -> Tensor:
        x: Tensor = encoder(_changed(obs, tokens[:, footprint]), keep).x
        return x

    dropped = encode(~member.any(1))
    subject.close([before], [dropped], "dropped tokens have no influence", "changing them changes what is kept")
    second = encode(member[:, 1])
    subject.close(
        [before[:, 0]], [second[:, 0]], "context sets do not see one another", "changing one set changes another"
    )
    subject.differ([before[:, 1]], [second[:, 1]], "what is seen has influence", "changing a set leaves it as it was")


def _check_causal_encoder(
    subject: Subject, encoder: Encoder, obs: Tensor | Tokens, whole: Tokens, footprint: Tensor
) -> None:
    time = whole.pos[0, :, 0]
    for first in sorted(set(time.tolist()))[1:]:
        moved = encoder(_changed(obs, (time >= first)[footprint].expand(len(whole.x), *footprint.shape)))
        earlier = time < first
        promise = "the future has no influence on the past"
        why = f"what happens from time {int(first)} on changes what represents earlier times"
        subject.close([whole.x[:, earlier]], [moved.x[:, earlier]], promise, why)


def _default_footprint(grid: Grid, shape: Sequence[int], tokens: bool) -> Int[Tensor, "*obs"]:
    """The token of each value: the used axes of the grid are laid over the last axes of an observation."""
    if tokens:
        return torch.arange(grid.size)[:, None].expand(*shape)
    used = [extent for extent in grid if extent > 1]
    last = list(shape[len(shape) - len(used) :])
    if len(used) > len(shape) or any(length % extent for length, extent in zip(last, used, strict=True)):
        raise ValueError(f"{grid} does not divide the last axes of {tuple(shape)}: pass `footprint`")
    index = torch.arange(grid.size).reshape(used)
    for axis, (length, extent) in enumerate(zip(last, used, strict=True)):
        index = index.repeat_interleave(length // extent, axis)
    return index.expand(*shape)


# --- predictors ------------------------------------------------------------------------------------------------------


def check_predictor(
    predictor: Predictor,
    *,
    dim: int,
    out_dim: int | None = None,
    grid: Grid = GRIDS[-1],
    cond: Tokens | None = None,
    apart: bool = True,
    causal: bool = False,
    compiled: bool = True,
    placed: bool = True,
) -> None:
    """Check the promises of a predictor.

    Args:
        predictor: the predictor.
        dim: width of the contexts, D.
        out_dim: width of the answers; by default D.
        grid: the lattice that contexts and queries stand on, at least 12 tokens.
        cond: what the prediction is conditioned on, for a batch of 2.
        apart: every target set is answered from a context of its own and by itself; otherwise all from the one context.
        causal: nothing that is seen or done at a time or later changes what is answered for that time; contexts and questions
            are whole frames of the grid, at least 6, and begin with the first.
        compiled: also compare with the compiled predictor, which takes seconds.
        placed: an answer depends on the position that it is asked for.
    """
    subject, predictor = Subject(predictor), _copied(predictor)
    parts = {id(parameter) for member in predictor.members() for parameter in member.parameters()}
    left_out = [name for name, parameter in predictor.named_parameters() if id(parameter) not in parts]
    subject.holds(not left_out, "its members hold all that is trained", f"none holds {', '.join(left_out[:5])}")
    if causal:
        _check_causal(subject, predictor, dim, grid, cond)
        context, query = _frames(grid, dim)
        _check_answers(subject, predictor, context, query, cond, compiled)
        return
    order = torch.stack([torch.randperm(grid.size, generator=_generator(7 + row)) for row in range(4)]).view(2, 2, -1)
    pos = grid.pos()
    context = Tokens(torch.randn(2, 2, 4, dim, generator=_generator(1)), pos[order[..., :4]])  # [B, C, K, D], C = M = 2
    query = pos[order[..., 4:9]]  # [B, M, Q, 3]
    first = Tokens(context.x[:, :1], context.pos[:, :1])
    if not apart:
        context = first
    answer = predictor(context, query, cond)

    subject.shape(answer.x, (*query.shape[:3], out_dim or dim), "an answer to every question", "x")
    subject.same([answer.pos], [query], "answers stand where they were asked", "pos is not the query")
    if apart:
        _check_sets_apart(subject, predictor, context, query, cond, answer.x, placed)
        _check_one_context(subject, predictor, context, query, cond)
    else:
        elsewhere = torch.cat([query[..., :1, :].flip(1), query[..., 1:, :]], -2)
        moved = predictor(context, elsewhere, cond).x
        subject.differ([answer.x], [moved], "the position is the question", "other positions, the same answers")
    _check_answers(subject, predictor, context, query, cond, compiled)


def _check_answers(
    subject: Subject, predictor: Predictor, context: Tokens, query: Tensor, cond: Tokens | None, compiled: bool
) -> None:
    answer = predictor(context, query, cond)
    flipped = predictor(context, query.flip(-2), cond).x.flip(-2)
    subject.close([answer.x], [flipped], "the order of questions is the order of answers", "flipping them changes more")
    part = None if cond is None else Tokens(cond.x[:1], cond.pos[:1])
    alone = predictor(Tokens(context.x[:1], context.pos[:1]), query[:1], part).x
    subject.close([answer.x[:1]], [alone], "samples do not see one another", "a sample alone is answered otherwise")
    _check_gradient_to(subject, "context", context.x, lambda x: [predictor(Tokens(x, context.pos), query, cond).x])

    def run(module: Predictor) -> list[Tensor]:
        return [module(context, query, cond).x]

    _check_module(subject, predictor, run)
    _check_low_precision(subject, predictor, run)
    if compiled:
        _check_compiled(subject, predictor, run)


def _check_one_context(
    subject: Subject, predictor: Predictor, context: Tokens, query: Tensor, cond: Tokens | None
) -> None:
    first = Tokens(context.x[:, :1], context.pos[:, :1])
    repeated = Tokens(first.x.expand_as(context.x), first.pos.expand_as(context.pos))
    subject.close(
        [predictor(first, query, cond).x],
        [predictor(repeated, query, cond).x],
        "one context serves all targets",
        "C = 1 and the same context repeated M times differ",
    )


def _check_causal(subject: Subject, predictor: Predictor, dim: int, grid: Grid, cond: Tokens | None) -> None:
    context, query = _frames(grid, dim)
    answer = predictor(context, query, cond)
    subject.shape(answer.x, (*query.shape[:3], dim), "an answer to every question", "x")
    subject.same([answer.pos], [query], "answers stand where they were asked", "pos is not the query")
    _check_one_context(subject, predictor, context, query, cond)
    x = torch.cat([context.x[:, :1], _other(context.x[:, 1:])], 1)
    moved = predictor(Tokens(x, context.pos), query, cond).x
    subject.close(
        [answer.x[:, 0]], [moved[:, 0]], "target sets are answered apart", "another set's context has influence"
    )
    for time in range(1, grid.t):
        later = Tokens(torch.where(context.pos[..., :1] >= time, _other(context.x), context.x), context.pos)
        acting = (
            cond if cond is None else cond._replace(x=torch.where(cond.pos[..., :1] >= time, _other(cond.x), cond.x))
        )
        moved, up_to = predictor(later, query, acting).x, query[..., 0] <= time
        promise = "the future has no influence on the past"
        why = f"what is seen or done from time {time} on changes answers for times up to it"
        subject.close([answer.x[up_to]], [moved[up_to]], promise, why)
    before = Tokens(torch.where(context.pos[..., :1] == 0, _other(context.x), context.x), context.pos)
    moved = predictor(before, query, cond).x
    subject.differ([answer.x], [moved], "what is seen has influence", "another first frame, the same answers")
    if cond is not None:
        done = predictor(context, query, cond._replace(x=_other(cond.x))).x
        subject.differ([answer.x], [done], "what is done has influence", "other actions, the same answers")


def _frames(grid: Grid, dim: int) -> tuple[Tokens, Tensor]:
    """Contexts of the frames 0, 1 and 3 and of 0, 2 and 3, with all frames but the first as questions, in any order."""
    pos = grid.pos().view(grid.t, -1, 3)
    seen = torch.stack([pos[[0, 1, 3]], pos[[0, 2, 3]]]).flatten(1, 2).expand(2, -1, -1, -1)  # [B, C, K, 3]
    asked = pos[1:].flatten(0, 1)  # [Q, 3]
    order = torch.stack([torch.randperm(len(asked), generator=_generator(7 + row)) for row in range(4)]).view(2, 2, -1)
    return Tokens(torch.randn(*seen.shape[:3], dim, generator=_generator(1)), seen), asked[order]


def _check_sets_apart(
    subject: Subject,
    predictor: Predictor,
    context: Tokens,
    query: Tensor,
    cond: Tokens | None,
    before: Tensor,
    placed: bool,
) -> None:
    promise = "target sets are answered apart"
    moved = torch.cat([query[:, :1], query[:, 1:].roll(1, -2)], 1)  # the second set asks for the same places, shifted
    moved[:, 1, 0] = context.pos[:, 1, 0]
    answer = predictor(context, moved, cond).x
    subject.close([before[:, 0]], [answer[:, 0]], promise, "other questions in one set change the answers of another")
    if placed:
        subject.differ(
            [before[:, 1]], [answer[:, 1]], "the position is the question", "other positions, the same answers"
        )
    x = torch.cat([context.x[:, :1], _other(context.x[:, 1:])], 1)
    answer = predictor(Tokens(x, context.pos), query, cond).x
    subject.close([before[:, 0]], [answer[:, 0]], promise, "the context of one set changes the answers of another")
    subject.differ([before[:, 1]], [answer[:, 1]], "what is seen has influence", "another context, the same answers")


# --- target encoders -------------------------------------------------------------------------------------------------


def check_target(
    target: TargetEncoder,
    *,
    encoder: Encoder,
    obs: Tensor,
    gradient: bool = False,
    moves: bool = True,
    further: int = 0,
    blind: bool = False,
) -> None:
    """Check the promises of a target encoder.

    Args:
        target: the target encoder.
        encoder: the encoder that it was made for.
        obs: observations `[B, ...]`.
        gradient: answers carry a gradient.
        moves: `update` changes the answers when the encoder has changed.
        further: how many answers of each set come before those for the target tokens.
        blind: answers hold nothing of the observation.
    """
    subject = Subject(target)
    target, encoder = copy.deepcopy((target, encoder))  # together: they may share weights
    target.eval()
    _needs_two(obs)
    grid = encoder.grid(obs.shape[1:])
    masks = [_some_masks(len(obs), grid.size, sets, seed) for sets, seed in ((2, 0), (1, 1))]
    answers = target(obs, masks)

    subject.holds(len(answers) == len(masks), "one answer for each mask", f"{len(answers)} for {len(masks)} masks")
    pos = grid.pos(obs.device).expand(len(obs), -1, -1)
    for answer, mask in zip(answers, masks, strict=True):
        count = (*mask.target.shape[:2], further + mask.target.shape[2])
        subject.shape(answer.x, (*count, answer.x.shape[-1]), "an answer for every target token", "x")
        asked = Tokens(pos, pos).select(mask.target).pos
        subject.same(
            [answer.pos[:, :, further:]],
            [asked],
            "answers stand at the targets",
            "pos is not that of the target tokens",
        )
        carries = answer.x.requires_grad
        told = "answers carry a gradient" if gradient else "answers carry no gradient"
        subject.holds(carries == gradient, told, f"requires_grad is {carries}")

    def run(module: TargetEncoder) -> list[Tensor]:
        return [answer.x for answer in module(obs, masks)]

    if not blind:
        other = [answer.x for answer in target(_other(obs), masks)]
        subject.differ(run(target), other, "what is seen has influence", "another obs, the same answers")
    _check_module(subject, target, run, gradient=gradient)
    _check_update(subject, target, encoder, run, moves)
    released = target.released(encoder)
    subject.holds(isinstance(released, Encoder), "`released` is an encoder", f"it is a {type(released).__name__}")


def _check_update(subject: Subject, target: TargetEncoder, encoder: Encoder, run: Run, moves: bool) -> None:
    trained = copy.deepcopy(encoder)
    _shake(trained)
    state = [value.clone() for value in trained.state_dict().values()]
    before = run(target)
    numbers = target.update(trained, 0)
    subject.holds(
        isinstance(numbers, dict) and all(isinstance(number, float) for number in numbers.values()),
        "`update` returns numbers to log",
        f"it returned {numbers!r}",
    )
    subject.same(state, list(trained.state_dict().values()), "`update` leaves the encoder alone", "its weights moved")
    if moves:
        after = run(target)
        subject.holds(
            not _all_equal(before, after), "`update` follows the encoder", "answers are the same after the update"
        )
    else:
        subject.same(before, run(target), "`update` changes nothing", "answers differ after the update")


def _some_masks(batch: int, n: int, sets: int, seed: int) -> Masks:
    order = torch.stack([torch.randperm(n, generator=_generator(seed, row)) for row in range(batch)])
    length = max(1, n // (sets + 1))
    parts = order[:, : length * (sets + 1)].view(batch, sets + 1, length)
    return Masks(parts[:, :1], parts[:, 1:])


# --- objectives ------------------------------------------------------------------------------------------------------


def check_objective(
    objective: Objective,
    *,
    dim: int = 8,
    gradient: Literal["pred", "target", "context"] = "pred",
    zero: bool = False,
    cond: Tokens | None = None,
    grid: Grid = PLANE,
) -> None:
    """Check the promises of an objective.

    Args:
        objective: the objective.
        dim: width of predictions, answers and contexts.
        gradient: what the objective trains.
        zero: every term is zero where prediction and answer agree.
        cond: what the prediction was conditioned on, for a batch of 4.
        grid: the lattice whose first 3 places are asked for and whose next 5 are seen.
    """
    subject, objective = Subject(objective), _copied(objective)
    pos = grid.pos()
    pred = Tokens(torch.randn(4, 2, 3, dim, generator=_generator(0)), pos[:3].expand(4, 2, -1, -1))
    target = Tokens(torch.randn(4, 2, 3, dim, generator=_generator(1)), pred.pos)
    target.x.requires_grad_(gradient == "target")
    context = Tokens(torch.randn(4, 1, 5, dim, generator=_generator(2)), pos[3:8].expand(4, 1, -1, -1))
    before = [part.x.detach().clone() for part in (pred, target, context)]
    terms = objective(pred, target, context, cond)
    subject.same(
        before, [pred.x, target.x.detach(), context.x], "leaves its inputs alone", "an input was changed in place"
    )

    subject.holds(
        isinstance(terms, dict) and len(terms) > 0, "named terms", f"returned {type(terms).__name__} {terms!r}"
    )
    for name, value in terms.items():
        subject.holds(isinstance(name, str), "named terms", f"{name!r} is no name")
        subject.shape(value, (), "terms are scalars", f"'{name}'")
        number = float(value.detach())
        subject.holds(math.isfinite(number), "terms are finite", f"'{name}' is {number}")

    values = {"pred": pred, "target": target, "context": context}

    def loss(x: Tensor) -> list[Tensor]:
        given = {**values, gradient: values[gradient]._replace(x=x)}
        return list(objective(given["pred"], given["target"], given["context"], cond).values())

    _check_gradient_to(subject, gradient, values[gradient].x.detach(), loss)
    if zero:
        same = objective(Tokens(target.x.clone(), pred.pos), target, context, cond)
        wrong = {name: value.item() for name, value in same.items() if bool(value != 0)}
        subject.holds(not wrong, "no difference, no loss", f"prediction equals answer, but {wrong}")
    _check_module(subject, objective, lambda module: list(module(pred, target, context, cond).values()))


# --- data ------------------------------------------------------------------------------------------------------------


def check_observations(observations: Observations, *, count: int = 8) -> None:
    """Check the promises of a set of observations on up to `count` of its samples."""
    subject = Subject(observations)
    n = len(observations)
    subject.holds(n > 0, "holds samples", "its length is 0")
    indices = sorted({round(place) for place in np.linspace(0, n - 1, min(count, n))})
    revived = _pickled(subject, observations)
    dtype = _plain(observations.observe(0))[0].dtype
    kinds = {type(observations.observe(index)) for index in indices}
    names = sorted(kind.__name__ for kind in kinds)
    subject.holds(len(kinds) == 1, "all samples come with a condition, or none", f"they are {names}")
    for index in indices:
        plain, seen = _observe(subject, observations, index), _observe(subject, observations, index, seed=index)
        several = (observations.views,) if observations.views > 1 else ()
        for view, lead in ((plain[0], ()), (seen[0], several)):
            shape = (*lead, *observations.shape)
            subject.shape(view, shape, "observations have the set's shape", f"sample {index}")
            subject.holds(
                view.dtype == dtype, "all observations have one dtype", f"sample {index} is {view.dtype}, not {dtype}"
            )
        kept = [part.clone() for part in plain], [part.clone() for part in seen]
        for part in (*plain, *seen):
            part.zero_()  # what was handed out belongs to the caller
        again = _observe(subject, observations, index), _observe(subject, observations, index, seed=index)
        why = f"sample {index} differs when asked again"
        subject.same(kept[0], again[0], "the plain view is always the same", why)
        subject.same(kept[1], again[1], "same generator, same view", why)
        theirs = _observe(subject, revived, index), _observe(subject, revived, index, seed=index)
        subject.same(
            [*kept[0], *kept[1]], [*theirs[0], *theirs[1]], "pickles", f"sample {index} of a pickled copy differs"
        )
    _check_factors(subject, observations)
    prints = [observations.fingerprint(), observations.fingerprint(), revived.fingerprint()]
    subject.holds(bool(prints[0]) and len(set(prints)) == 1, "the fingerprint is stable", f"three calls gave {prints}")


def check_source(source: DataSource, *, count: int = 8) -> None:
    """Check the promises of a data source, of what it gives to learn from and of its splits for probes."""
    subject = Subject(source)
    train = source.train()
    check_observations(train, count=count)
    subject.holds(
        isinstance(source.channels, int) and source.channels > 0, "`channels` counts them", f"it is {source.channels!r}"
    )
    subject.holds(
        source.train().fingerprint() == train.fingerprint(), "the data stay the same", "a second call gives other data"
    )
    splits = source.probe()
    if splits is None:
        return
    for split in splits:
        check_observations(split, count=count)
        subject.holds(
            tuple(split.shape) == tuple(train.shape), "splits have one shape", f"{split.shape} and {train.shape}"
        )
    names = [{name: labels.names for name, labels in split.factors.items()} for split in splits]
    subject.holds(len(names[0]) > 0, "splits for probes have labels", "the training split has no factors")
    subject.holds(
        list(names[0]) == list(names[1]) == list(names[2]) and names[0] == names[1] == names[2],
        "splits have the same factors and classes",
        f"train, val and test have {names}",
    )
    test = splits.test.fingerprint()
    others = {"learning": train, "training probes": splits.train, "validation": splits.val}
    shared = [name for name, part in others.items() if part.fingerprint() == test]
    subject.holds(not shared, "test samples are kept apart", f"the test split is also the one for {', '.join(shared)}")


def _observe(subject: Subject, observations: Observations, index: int, seed: int | None = None) -> list[Tensor]:
    """The tensors of a view: the observation, then those of its condition."""
    before = _global_states()
    view = observations.observe(index) if seed is None else observations.observe(index, _generator(seed))
    moved = [name for name, state in _global_states().items() if state != before[name]]
    subject.holds(not moved, "leaves global generators alone", f"observing moved that of {', '.join(moved)}")
    return _plain(view)


def _plain(view: View) -> list[Tensor]:
    return [view.obs, *view.cond] if isinstance(view, Conditioned) else [view]


def _check_factors(subject: Subject, observations: Observations) -> None:
    n = len(observations)
    for factor, labels in observations.factors.items():
        index, names = labels.index, labels.names
        subject.holds(
            index.dtype == np.int64 and index.shape == (n,),
            "a factor has a class for every sample",
            f"'{factor}' is {index.dtype} {list(index.shape)} for {n} samples",
        )
        subject.holds(
            len(set(names)) == len(names) and not ((index < 0) | (index >= len(names))).any(),
            "classes have names",
            f"'{factor}' runs from {index.min()} to {index.max()} with the names {names}",
        )


# --- promises of all modules -----------------------------------------------------------------------------------------


def _check_module(subject: Subject, module: nn.Module, run: Run, gradient: bool = True) -> None:
    out = run(module)
    subject.holds(all(bool(part.isfinite().all()) for part in out), "outputs are finite", "some are not")
    subject.same(out, run(module), "the same input, the same output", "two calls in evaluation mode differ")
    subject.same(out, run(_pickled(subject, module)), "pickles", "a pickled copy gives other outputs")
    subject.same(out, run(copy.deepcopy(module)), "copies", "a deep copy gives other outputs")
    if gradient:
        _check_gradients(subject, copy.deepcopy(module), run)
    _check_state(subject, module, run)


def _check_gradients(subject: Subject, module: nn.Module, run: Run) -> None:
    module.zero_grad(set_to_none=True)
    wanted = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if not wanted:
        return
    _weighted_sum(run(module)).backward()  # type: ignore[no-untyped-call]
    dry = [name for name, parameter in wanted.items() if parameter.grad is None]
    subject.holds(not dry, "a gradient reaches every trainable parameter", f"none reaches {', '.join(dry[:5])}")
    wild = [name for name, p in wanted.items() if p.grad is not None and not bool(p.grad.isfinite().all())]
    subject.holds(not wild, "gradients are finite", f"not so for {', '.join(wild[:5])}")


def _check_state(subject: Subject, module: nn.Module, run: Run) -> None:
    promise = "the state dict holds all state"
    used, fresh = copy.deepcopy(module), copy.deepcopy(module)
    _shake(used)
    used.train()
    run(used)  # what moves in a forward pass is state, too
    used.eval()
    saved = {name: value.clone() for name, value in used.state_dict().items()}
    try:
        fresh.load_state_dict(saved)
    except RuntimeError as error:
        raise subject.broken(promise, f"it cannot be loaded ({error})") from error
    subject.same(run(used), run(fresh), promise, "after loading it into another copy, outputs differ")


def _check_low_precision(subject: Subject, module: nn.Module, run: Run) -> None:
    full = run(module)
    device = full[0].device.type
    with torch.autocast(device, torch.bfloat16):
        low = run(module)
    # Eight bits of mantissa through a few layers: a few per cent of the output's own size.
    pairs = [(a.detach(), b.detach().float()) for a, b in zip(full, low, strict=True)]
    apart = [float((a - b).norm() / a.norm().clamp_min(1e-12)) for a, b in pairs]
    subject.holds(max(apart) < 0.2, "works in bfloat16", f"outputs are off by {max(apart):.0%} of their norm")


def _check_compiled(subject: Subject, module: nn.Module, run: Run) -> None:
    plain = run(module)
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what tracing has to say concerns PyTorch, not the promise
        compiled = run(torch.compile(module, backend="eager", dynamic=False))
    torch._dynamo.reset()
    subject.close(plain, compiled, "compiles to the same function", "compiled outputs differ")


def _check_gradient_to(subject: Subject, name: str, x: Tensor, run: Callable[[Tensor], list[Tensor]]) -> None:
    leaf = x.clone().requires_grad_()
    loss = _weighted_sum(run(leaf))
    gradient = torch.autograd.grad(loss, leaf, allow_unused=True)[0] if loss.requires_grad else None
    reached = gradient is not None and bool(gradient.isfinite().all()) and bool(gradient.abs().sum() > 0)
    subject.holds(reached, f"a gradient reaches the {name}", "it is missing, zero or not finite")


# --- helpers ---------------------------------------------------------------------------------------------------------


def _global_states() -> dict[str, object]:
    """The states of the generators that a pure part leaves alone, in a form that can be compared."""
    return {"torch": torch.random.get_rng_state().numpy().tobytes(), "numpy": repr(np.random.get_state())}


@contextmanager
def _globals_restored() -> Iterator[None]:
    """Put back the global generators afterwards, and see to it that gradients are recorded meanwhile."""
    numpy_state, python_state = np.random.get_state(), python_random.getstate()
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            yield
    finally:
        np.random.set_state(numpy_state)
        python_random.setstate(python_state)


def _generator(*key: int) -> torch.Generator:
    return torch.Generator().manual_seed(sum(part * 1009**place for place, part in enumerate(key)))


def _copied(module: Module) -> Module:
    return copy.deepcopy(module).eval()


Part = TypeVar("Part")


def _pickled(subject: Subject, part: Part) -> Part:
    try:
        revived: Part = pickle.loads(pickle.dumps(part))  # noqa: S301
    except (pickle.PickleError, AttributeError, TypeError) as error:
        raise subject.broken("pickles", str(error)) from error
    return revived


@torch.no_grad()
def _shake(module: nn.Module) -> None:
    """Move every weight a little, the same way each time."""
    rng = _generator(5)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=rng)
        parameter.add_(0.1 * noise.to(parameter.device, parameter.dtype))


def _needs_two(values: Tensor) -> None:
    if len(values) < 2:
        raise ValueError(f"contracts need a batch of at least 2 samples, not {len(values)}")


def _two_sets(batch: int, n: int) -> Int[Tensor, "B 2 K"]:
    """Two disjoint sets of kept tokens for each sample, which leave at least a third of the tokens out."""
    if n < 3:
        raise ValueError(f"contracts need observations of at least 3 tokens, not {n}")
    order = torch.stack([torch.randperm(n, generator=_generator(3, row)) for row in range(batch)])
    length = n // 3
    return order[:, : 2 * length].view(batch, 2, length).sort(-1).values


def _other(values: Tensor) -> Tensor:
    """Different values of the same kind."""
    if values.dtype == torch.uint8:
        return 255 - values
    noise = torch.randn(values.shape, generator=_generator(11)).to(values.device, values.dtype)
    return noise - values


def _changed(obs: Tensor | Tokens, where: Tensor) -> Tensor | Tokens:
    if isinstance(obs, Tokens):
        return Tokens(torch.where(where.to(obs.x.device), _other(obs.x), obs.x), obs.pos)
    return torch.where(where.to(obs.device), _other(obs), obs)


def _rows(obs: Tensor | Tokens, count: int) -> Tensor | Tokens:
    return Tokens(obs.x[:count], obs.pos[:count]) if isinstance(obs, Tokens) else obs[:count]


def _weighted_sum(outputs: Sequence[Tensor]) -> Tensor:
    """A number that depends on every output; a plain sum does not, after a layer norm."""
    rng = _generator(13)
    weighted = [part.float() * torch.randn(part.shape, generator=rng).to(part.device) for part in outputs]
    return torch.stack([part.sum() for part in weighted]).sum()


def _near(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.allclose(first.float(), second.float(), rtol=1e-4, atol=1e-5)


def _all_equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


def _largest(first: Sequence[Tensor], second: Sequence[Tensor]) -> str:
    """How far apart two lists of tensors are, in words."""
    shapes = [[list(part.shape) for part in parts] for parts in (first, second)]
    if shapes[0] != shapes[1]:
        return f" (shapes {shapes[0]} and {shapes[1]})"
    pairs = [(a.detach().double(), b.detach().double()) for a, b in zip(first, second, strict=True) if a.numel()]
    apart = max((float((a - b).abs().max()) for a, b in pairs), default=0.0)
    return f" (by up to {apart:.3g})"


CHECKS: dict[type, Callable[..., None]] = {
    MaskSampler: check_sampler,
    Tokenizer: check_tokenizer,
    Encoder: check_encoder,
    Predictor: check_predictor,
    TargetEncoder: check_target,
    Objective: check_objective,
    Observations: check_observations,
    DataSource: check_source,
}
"""The check of each interface."""
