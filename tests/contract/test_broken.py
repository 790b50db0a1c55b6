"""Proof that the contracts can fail: for every promise a part that breaks it, and a check that says which."""

from __future__ import annotations

import ast
import copy
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import worldjepa.testing
from worldjepa.data import DataSource, Labels, Observations, ProbeSplits
from worldjepa.data.views import Conditioned
from worldjepa.interfaces import Encoder, MaskSampler, Objective, Predictor, TargetEncoder, Tokenizer
from worldjepa.masks import MultiBlock, Random
from worldjepa.testing import ContractError, check
from worldjepa.types import Grid, Masks, Tokens

BROKEN: list[Any] = []


def breaks(promise: str, **samples: Any) -> Callable[[type], type]:
    """The decorated class, made without arguments, is checked and must break this promise."""

    def register(kind: type) -> type:
        name = promise.replace(" ", "_").replace(",", "")
        BROKEN.append(pytest.param(kind, promise, samples, id=f"{kind.__name__}-{name}"))
        return kind

    return register


# --- mask samplers ---------------------------------------------------------------------------------------------------


class Drawing(MaskSampler):
    """A good sampler; subclasses spoil it."""

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        (masks,) = Random(0.5)(grid, batch, rng)
        return self.spoil(masks, grid)

    def spoil(self, masks: Masks, grid: Grid) -> list[Masks]:
        return [masks]


@breaks("same generator, same masks")
class Unseeded(Drawing):
    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        rng.seed()
        return super().__call__(grid, batch, rng)


@breaks("no memory between calls")
class Counter(Drawing):
    calls = 0

    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        self.calls += 1
        return super().__call__(grid, batch, rng.manual_seed(self.calls))


@breaks("leaves global generators alone")
class GlobalTorch(Drawing):
    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        torch.rand(1)
        return super().__call__(grid, batch, rng)


@breaks("leaves global generators alone")
class GlobalNumpy(Drawing):
    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        np.random.rand()
        return super().__call__(grid, batch, rng)


@breaks("another generator, other masks")
class OwnSeed(Drawing):
    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        return super().__call__(grid, batch, torch.Generator().manual_seed(0))


@breaks("samples get masks of their own")
class Shared(Drawing):
    def spoil(self, masks: Masks, grid: Grid) -> list[Masks]:
        return [Masks(masks.context[:1].expand_as(masks.context), masks.target[:1].expand_as(masks.target))]


@breaks("no memory between calls", grids=[Grid(1, 8, 8), Grid(1, 6, 6)])
class FirstGridDecides(Drawing):
    def __init__(self) -> None:
        self.seen: dict[Grid, bool] = {}

    def spoil(self, masks: Masks, grid: Grid) -> list[Masks]:
        larger = self.seen.setdefault(grid, Grid(1, 8, 8) in self.seen)
        return [Masks(masks.context[..., 1:], masks.target)] if larger else [masks]


@breaks("index sets are int64")
class NarrowIndices(Drawing):
    def spoil(self, masks: Masks, grid: Grid) -> list[Masks]:
        return [Masks(masks.context.int(), masks.target)]


@breaks("index sets are int64 [B, sets, tokens]")
class FoldedBatch(Drawing):
    def spoil(self, masks: Masks, grid: Grid) -> list[Masks]:
        return [Masks(masks.context.repeat(2, 1, 1), masks.target)]


@breaks("no set is empty")
class Empty(Drawing):
    def spoil(self, masks: Masks, grid: Grid) -> list[Masks]:
        return [Masks(masks.context[..., :0], masks.target)]


@breaks("indices name tokens of the grid")
class OffByOne(Drawing):
    def spoil(self, masks: Masks, grid: Grid) -> list[Masks]:
        return [Masks(masks.context + 1, masks.target + 1)]


@breaks("a set names a token once")
class Repeats(Drawing):
    def spoil(self, masks: Masks, grid: Grid) -> list[Masks]:
        return [Masks(masks.context.repeat(1, 1, 2), masks.target)]


@breaks("one context for all targets, or one for each")
class TwoContextsOneTarget(Drawing):
    def spoil(self, masks: Masks, grid: Grid) -> list[Masks]:
        return [Masks(masks.context.repeat(1, 2, 1), masks.target)]


@breaks("context and target are disjoint")
class Overlapping(Drawing):
    def spoil(self, masks: Masks, grid: Grid) -> list[Masks]:
        return [Masks(torch.cat([masks.context, masks.target[..., :1]], -1), masks.target)]


@breaks("index sets are int64 [B, sets, tokens]")
class NeverOne(Drawing):
    def __call__(self, grid: Grid, batch: int, rng: torch.Generator) -> list[Masks]:
        return super().__call__(grid, max(2, batch), rng)


@breaks("pickles")
class Lambda(Drawing):
    def __init__(self) -> None:
        self.key = lambda: 0


# --- tokenizers ------------------------------------------------------------------------------------------------------

PIXELS = torch.randn(3, 1, 4, 6, generator=torch.Generator().manual_seed(0))


class Pixels(Tokenizer):
    """One token a pixel; subclasses spoil it."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 8
        self.proj = nn.Linear(1, 8)

    def forward(self, obs: Tensor) -> Tokens:
        x = self.proj(obs.flatten(2).transpose(1, 2))
        return self.spoil(Tokens(x, self.grid(obs.shape[1:]).pos().expand(len(obs), -1, -1)))

    def spoil(self, tokens: Tokens) -> Tokens:
        return tokens

    def grid(self, obs_shape: Any) -> Grid:
        return Grid(1, *obs_shape[1:])


@breaks("as many tokens as the grid", obs=PIXELS)
class ClassToken(Pixels):
    def spoil(self, tokens: Tokens) -> Tokens:
        return Tokens(torch.cat([tokens.x[:, :1], tokens.x], 1), tokens.pos)


@breaks("a piece for every token", obs=PIXELS)
class NarrowPieces(Pixels):
    piece_dim = 2

    def pieces(self, obs: Tensor) -> Tokens:
        return Tokens(obs.flatten(2).transpose(1, 2), self(obs).pos)


@breaks("pieces stand where their tokens do", obs=PIXELS)
class PiecesElsewhere(NarrowPieces):
    piece_dim = 1

    def pieces(self, obs: Tensor) -> Tokens:
        return Tokens(super().pieces(obs).x, self(obs).pos + 1)


@breaks("as wide as `dim`", obs=PIXELS)
class WrongWidth(Pixels):
    def __init__(self) -> None:
        super().__init__()
        self.dim = 16


@breaks("positions are the grid's", obs=PIXELS)
class ColumnMajor(Pixels):
    def spoil(self, tokens: Tokens) -> Tokens:
        return Tokens(tokens.x, tokens.pos[..., [0, 2, 1]])


@breaks("tokens are floating-point", obs=PIXELS)
class Codes(Pixels):
    def spoil(self, tokens: Tokens) -> Tokens:
        return Tokens(tokens.x.long(), tokens.pos)


@breaks("samples do not see one another", obs=PIXELS)
class BatchNormed(Pixels):
    def spoil(self, tokens: Tokens) -> Tokens:
        return Tokens(tokens.x - tokens.x.mean(0), tokens.pos)


@breaks("what is seen has influence", obs=PIXELS)
class Blind(Pixels):
    def spoil(self, tokens: Tokens) -> Tokens:
        return Tokens(tokens.x * 0, tokens.pos)


@breaks("a gradient reaches every trainable parameter", obs=PIXELS)
class Unused(Pixels):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


@breaks("the same input, the same output", obs=PIXELS)
class AlwaysDrops(Pixels):
    calls = 0

    def spoil(self, tokens: Tokens) -> Tokens:
        self.calls += 1
        # Not within the first three calls, which other promises compare.
        return Tokens(tokens.x + 1e-3 * max(0, self.calls - 3), tokens.pos)


@breaks("outputs are finite", obs=PIXELS)
class NotFinite(Pixels):
    def spoil(self, tokens: Tokens) -> Tokens:
        return Tokens(torch.cat([tokens.x[:, :-1], tokens.x[:, -1:] * 0 + torch.inf], 1), tokens.pos)


@breaks("gradients are finite", obs=PIXELS)
class RootOfZero(Pixels):
    def spoil(self, tokens: Tokens) -> Tokens:
        return Tokens(tokens.x + (0 * self.proj.bias).sqrt(), tokens.pos)


@breaks("pickles", obs=PIXELS)
class LambdaModule(Pixels):
    def __init__(self) -> None:
        super().__init__()
        self.activation = lambda x: x


@breaks("copies", obs=PIXELS)
class CopiesBadly(Pixels):
    def __deepcopy__(self, memo: dict[int, Any]) -> CopiesBadly:
        return type(self)()


@breaks("the state dict holds all state", obs=PIXELS)
class HiddenBuffer(Pixels):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(8), persistent=False)

    def spoil(self, tokens: Tokens) -> Tokens:
        x = tokens.x - self.centre
        if self.training:
            self.centre = x.detach().mean((0, 1))
        return Tokens(x, tokens.pos)


# --- encoders --------------------------------------------------------------------------------------------------------


class Mixing(Encoder):
    """Tokens plus a summary of what is kept; subclasses spoil it."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 8
        self.tokenizer, self.mix = Pixels(), nn.Linear(8, 8)

    def grid(self, obs_shape: Any) -> Grid:
        return self.tokenizer.grid(obs_shape)

    def forward(self, obs: Tensor | Tokens, keep: Tensor | None = None) -> Tokens:
        tokens = self.tokenizer(obs)
        kept = tokens if keep is None else tokens.select(keep)
        return self.spoil(Tokens(self.mix(kept.x + kept.x.mean(-2, keepdim=True)), kept.pos), tokens)

    def spoil(self, out: Tokens, everything: Tokens) -> Tokens:
        return out


@breaks("every layer has all tokens, as wide as `dim`", obs=PIXELS)
class HalfLayers(Mixing):
    def layers(self, obs: Tensor | Tokens, wanted: Any = None, normed: bool = True) -> list[Tokens]:
        return [Tokens(one.x[..., :4], one.pos) for one in super().layers(obs, wanted)]


@breaks("the last layer is what `forward` returns", obs=PIXELS)
class OtherLast(Mixing):
    def layers(self, obs: Tensor | Tokens, wanted: Any = None, normed: bool = True) -> list[Tokens]:
        return [Tokens(2 * one.x, one.pos) for one in super().layers(obs, wanted)]


@breaks("`wanted` chooses layers", obs=PIXELS)
class AllLayers(Mixing):
    def layers(self, obs: Tensor | Tokens, wanted: Any = None, normed: bool = True) -> list[Tokens]:
        last = super().layers(obs)[0]
        return [Tokens(2 * last.x, last.pos), last]


@breaks("a layer that is not there is refused", obs=PIXELS)
class AnyLayer(Mixing):
    def layers(self, obs: Tensor | Tokens, wanted: Any = None, normed: bool = True) -> list[Tokens]:
        return [self(obs) for _ in wanted or [0]]


@breaks("stages hold every parameter once", obs=PIXELS)
class ForgetsStage(Mixing):
    def stages(self) -> list[list[nn.Parameter]]:
        return [list(self.mix.parameters())]


@breaks("dropped tokens have no influence", obs=PIXELS)
class Leaks(Mixing):
    def spoil(self, out: Tokens, everything: Tokens) -> Tokens:
        summary = everything.x.mean(1)
        return Tokens(out.x + summary.view(len(summary), *[1] * (out.x.ndim - 2), -1), out.pos)


@breaks("context sets do not see one another", obs=PIXELS)
class SetsMeet(Mixing):
    def spoil(self, out: Tokens, everything: Tokens) -> Tokens:
        return Tokens(out.x + out.x.mean(1, keepdim=True), out.pos) if out.x.ndim == 4 else out


@breaks("what is seen has influence", obs=PIXELS)
class BlindEncoder(Mixing):
    def spoil(self, out: Tokens, everything: Tokens) -> Tokens:
        return Tokens(0 * out.x, out.pos)


@breaks("the order of `keep` is the order of the tokens", obs=PIXELS)
class Sequential(Mixing):
    def spoil(self, out: Tokens, everything: Tokens) -> Tokens:
        return Tokens(out.x.cumsum(-2), out.pos)


@breaks("samples do not see one another", obs=PIXELS)
class BatchMeets(Mixing):
    def spoil(self, out: Tokens, everything: Tokens) -> Tokens:
        return Tokens(out.x - out.x[-1:].detach().mean(-2, keepdim=True) * (len(out.x) > 2), out.pos)


@breaks("tokens keep their positions", obs=PIXELS)
class Renumbers(Mixing):
    def spoil(self, out: Tokens, everything: Tokens) -> Tokens:
        return (
            Tokens(out.x, everything.pos[:, : out.pos.shape[-2]].unsqueeze(1).expand_as(out.pos))
            if (out.x.ndim == 4)
            else out
        )


@breaks("with `keep`, the kept tokens of every set", obs=PIXELS)
class FoldsSets(Mixing):
    def spoil(self, out: Tokens, everything: Tokens) -> Tokens:
        return Tokens(out.x.flatten(0, -3), out.pos)


@breaks("without `keep`, all tokens", obs=PIXELS)
class Pools(Mixing):
    def spoil(self, out: Tokens, everything: Tokens) -> Tokens:
        return Tokens(out.x.mean(1, keepdim=True), out.pos) if out.x.ndim == 3 else out


@breaks("works in bfloat16", obs=PIXELS)
class HighPrecision(Mixing):
    def spoil(self, out: Tokens, everything: Tokens) -> Tokens:
        return Tokens(out.x * (out.x.dtype != torch.bfloat16), out.pos)


@breaks("compiles to the same function", obs=PIXELS)
class SomethingElseCompiled(Mixing):
    def spoil(self, out: Tokens, everything: Tokens) -> Tokens:
        return Tokens(2 * out.x, out.pos) if torch.compiler.is_compiling() else out


# --- predictors ------------------------------------------------------------------------------------------------------


class Answering(Predictor):
    """Context summary plus position through a layer; subclasses spoil it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.asked = nn.Linear(6, 6), nn.Linear(3, 6)

    def forward(self, context: Tokens, query: Tensor, cond: Tokens | None = None, mask: int = 0) -> Tokens:
        x = torch.tanh(self.seen(context.x).mean(-2, keepdim=True) + self.asked(query))
        return self.spoil(Tokens(x, query), context)

    def spoil(self, out: Tokens, context: Tokens) -> Tokens:
        return out


@breaks("target sets are answered apart", dim=6)
class BlocksMeet(Answering):
    def spoil(self, out: Tokens, context: Tokens) -> Tokens:
        return Tokens(out.x + out.x.mean((1, 2), keepdim=True), out.pos)


@breaks("target sets are answered apart", dim=6)
class ContextsMeet(Answering):
    def spoil(self, out: Tokens, context: Tokens) -> Tokens:
        return Tokens(out.x + context.x.mean((1, 2), keepdim=True), out.pos)


@breaks("its members hold all that is trained", dim=6)
class KeepsSomethingBack(Answering):
    """What no member has is used by the whole alone, and nobody would ever teach it."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.scale = Answering(), nn.Parameter(torch.ones(()))

    def members(self) -> Sequence[Predictor]:
        return [self.each]


@breaks("the position is the question", dim=6)
class NeverAsked(Answering):
    def forward(self, context: Tokens, query: Tensor, cond: Tokens | None = None, mask: int = 0) -> Tokens:
        return super().forward(context, query * 0, cond)._replace(pos=query)


@breaks("what is seen has influence", dim=6)
class NeverLooks(Answering):
    def forward(self, context: Tokens, query: Tensor, cond: Tokens | None = None, mask: int = 0) -> Tokens:
        return super().forward(Tokens(context.x * 0, context.pos), query, cond)


@breaks("one context serves all targets", dim=6)
class CountsContexts(Answering):
    def spoil(self, out: Tokens, context: Tokens) -> Tokens:
        return Tokens(out.x * context.x.shape[1], out.pos)


@breaks("the order of questions is the order of answers", dim=6)
class Autoregressive(Answering):
    def spoil(self, out: Tokens, context: Tokens) -> Tokens:
        return Tokens(out.x.cumsum(-2), out.pos)


@breaks("samples do not see one another", dim=6)
class BatchAnswers(Answering):
    def spoil(self, out: Tokens, context: Tokens) -> Tokens:
        return Tokens(out.x - out.x.mean(0), out.pos)


@breaks("a gradient reaches the context", dim=6)
class Detached(Answering):
    def forward(self, context: Tokens, query: Tensor, cond: Tokens | None = None, mask: int = 0) -> Tokens:
        return super().forward(Tokens(context.x.detach(), context.pos), query, cond)


@breaks("an answer to every question", dim=6)
class AnswersOnce(Answering):
    def spoil(self, out: Tokens, context: Tokens) -> Tokens:
        return Tokens(out.x[:, :, :1], out.pos)


@breaks("answers stand where they were asked", dim=6)
class StandsElsewhere(Answering):
    def spoil(self, out: Tokens, context: Tokens) -> Tokens:
        return Tokens(out.x, out.pos + 1)


# --- target encoders -------------------------------------------------------------------------------------------------

ENCODER = Mixing()


class Copy(TargetEncoder):
    """A copy of the encoder that follows it half-way; subclasses spoil it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(ENCODER).requires_grad_(False)

    def forward(self, obs: Tensor | Tokens, masks: list[Masks]) -> list[Tokens]:
        tokens = self.encoder(obs)
        return self.spoil([tokens.select(mask.target) for mask in masks])

    def spoil(self, answers: list[Tokens]) -> list[Tokens]:
        return answers

    @torch.no_grad()
    def update(self, encoder: Encoder, step: int) -> dict[str, float]:
        for mine, theirs in zip(self.encoder.parameters(), encoder.parameters(), strict=True):
            mine.lerp_(theirs, 0.5)
        return {"half": 0.5}


TARGET = {"encoder": ENCODER, "obs": PIXELS}


@breaks("one answer for each mask", **TARGET)
class FirstMaskOnly(Copy):
    def spoil(self, answers: list[Tokens]) -> list[Tokens]:
        return answers[:1]


@breaks("an answer for every target token", **TARGET)
class PooledAnswers(Copy):
    def spoil(self, answers: list[Tokens]) -> list[Tokens]:
        return [Tokens(answer.x.mean(2, keepdim=True), answer.pos) for answer in answers]


@breaks("answers stand at the targets", **TARGET)
class AnswersElsewhere(Copy):
    def spoil(self, answers: list[Tokens]) -> list[Tokens]:
        return [Tokens(answer.x, answer.pos.flip(2)) for answer in answers]


@breaks("answers carry no gradient", **TARGET)
class Trainable(Copy):
    def __init__(self) -> None:
        super().__init__()
        self.encoder.requires_grad_(True)


@breaks("answers carry a gradient", gradient=True, **TARGET)
class Untrainable(Copy):
    pass


@breaks("what is seen has influence", **TARGET)
class ConstantAnswer(Copy):
    def spoil(self, answers: list[Tokens]) -> list[Tokens]:
        return [Tokens(answer.x * 0, answer.pos) for answer in answers]


@breaks("`update` follows the encoder", **TARGET)
class Frozen(Copy):
    def update(self, encoder: Encoder, step: int) -> dict[str, float]:
        return {}


@breaks("`update` changes nothing", moves=False, **TARGET)
class NotFrozen(Copy):
    pass


@breaks("`update` leaves the encoder alone", **TARGET)
class Backwards(Copy):
    @torch.no_grad()
    def update(self, encoder: Encoder, step: int) -> dict[str, float]:
        for mine, theirs in zip(self.encoder.parameters(), encoder.parameters(), strict=True):
            theirs.lerp_(mine, 0.5)
        return {}


@breaks("`update` returns numbers to log", **TARGET)
class LogsTensors(Copy):
    def update(self, encoder: Encoder, step: int) -> dict[str, float]:
        super().update(encoder, step)
        return {"half": torch.tensor(0.5)}  # type: ignore[dict-item]


@breaks("`released` is an encoder", **TARGET)
class ReleasesItself(Copy):
    def released(self, encoder: Encoder) -> Encoder:
        return self  # type: ignore[return-value]


# --- objectives ------------------------------------------------------------------------------------------------------


class Distance(Objective):
    """Mean squared distance; subclasses spoil it."""

    def forward(self, pred: Tokens, target: Tokens, context: Tokens, cond: Tokens | None = None) -> dict[str, Tensor]:
        return self.spoil((pred.x - target.x).square().mean(), pred)

    def spoil(self, loss: Tensor, pred: Tokens) -> Any:
        return {"distance": loss}


@breaks("named terms")
class NoNames(Distance):
    def spoil(self, loss: Tensor, pred: Tokens) -> Any:
        return loss


@breaks("terms are scalars")
class PerSample(Distance):
    def spoil(self, loss: Tensor, pred: Tokens) -> Any:
        return {"distance": loss.expand(len(pred.x))}


@breaks("terms are finite")
class LogOfNegative(Distance):
    def spoil(self, loss: Tensor, pred: Tokens) -> Any:
        return {"distance": (-loss).log()}


@breaks("a gradient reaches the pred")
class NoGradient(Distance):
    def spoil(self, loss: Tensor, pred: Tokens) -> Any:
        return {"distance": loss.detach()}


@breaks("no difference, no loss", zero=True)
class Offset(Distance):
    def spoil(self, loss: Tensor, pred: Tokens) -> Any:
        return {"distance": loss + 1}


@breaks("leaves its inputs alone")
class InPlace(Distance):
    def spoil(self, loss: Tensor, pred: Tokens) -> Any:
        with torch.no_grad():
            pred.x.clone().mul_(2)
            pred.x.data.mul_(2)
        return {"distance": loss}


# --- data ------------------------------------------------------------------------------------------------------------


class Noise(Observations):
    """Numbers with noise where a generator is given; subclasses spoil it."""

    def __init__(self, start: int = 0, width: int = 3) -> None:
        self.start, self.shape, self.calls = start, (2, width), 0
        self.factors = {"parity": Labels(np.arange(6) % 2, ["even", "odd"])}

    def __len__(self) -> int:
        return 6

    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        plain = torch.full(self.shape, float(self.start + index))
        return plain if rng is None else plain + torch.rand(self.shape, generator=rng)

    def fingerprint(self) -> str:
        return f"noise from {self.start}"


@breaks("observations have the set's shape")
class OneViewOfTwo(Noise):
    views = 2


@breaks("leaves global generators alone")
class GlobalNoise(Noise):
    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        return super().observe(index, rng) if rng is None else torch.rand(2, 3)


@breaks("the plain view is always the same")
class Wears(Noise):
    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        self.calls += 1
        return super().observe(index, rng) + self.calls


@breaks("same generator, same view")
class OwnGenerator(Noise):
    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        self.calls += rng is not None
        return super().observe(index, rng) + (0 if rng is None else self.calls)


@breaks("the plain view is always the same")
class HandsOutItsMemory(Noise):
    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.ones(6, 2, 3)

    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        return self.memory[index] if rng is None else super().observe(index, rng)


@breaks("observations have the set's shape")
class OtherShape(Noise):
    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        return super().observe(index, rng)[:, : 3 - index % 2]


@breaks("all observations have one dtype")
class OtherType(Noise):
    def observe(self, index: int, rng: torch.Generator | None = None) -> Tensor:
        return super().observe(index, rng).to(torch.float64 if index == 5 else torch.float32)


@breaks("pickles")
class OpenFile(Noise):
    def __init__(self) -> None:
        super().__init__()
        self.lines = (line for line in [])


@breaks("pickles")
class ForgetsInPickle(Noise):
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "start": 7}


@breaks("a factor has a class for every sample")
class MissingLabels(Noise):
    def __init__(self) -> None:
        super().__init__()
        self.factors = {"parity": Labels(np.arange(5) % 2, ["even", "odd"])}


@breaks("classes have names")
class MissingNames(Noise):
    def __init__(self) -> None:
        super().__init__()
        self.factors = {"parity": Labels(np.arange(6) % 2, ["even"])}


@breaks("the fingerprint is stable")
class NewPrint(Noise):
    prints = itertools.count()

    def fingerprint(self) -> str:
        return str(next(self.prints))


@breaks("holds samples")
class NoSamples(Noise):
    def __len__(self) -> int:
        return 0


class Numbers(DataSource):
    """Numbers to learn from and others to probe with; subclasses spoil it."""

    channels = 1

    def train(self) -> Observations:
        return Noise()

    def probe(self) -> ProbeSplits | None:
        return ProbeSplits(Noise(100), Noise(200), self.test_split())

    def test_split(self) -> Observations:
        return Noise(300)


@breaks("test samples are kept apart")
class TestsOnTraining(Numbers):
    def test_split(self) -> Observations:
        return Noise()


TestsOnTraining.__test__ = False  # type: ignore[attr-defined]


@breaks("splits have the same factors and classes")
class OtherClasses(Numbers):
    def test_split(self) -> Observations:
        test = Noise(300)
        test.factors = {"parity": Labels(np.arange(6) % 2, ["odd", "even"])}
        return test


@breaks("splits for probes have labels")
class NoLabels(Numbers):
    def probe(self) -> ProbeSplits | None:
        splits = super().probe()
        assert splits is not None
        for split in splits:
            split.factors = {}
        return splits


@breaks("splits have one shape")
class OtherSize(Numbers):
    def test_split(self) -> Observations:
        return Noise(300, width=2)


@breaks("`channels` counts them")
class NoChannels(Numbers):
    channels = 0


@breaks("the data stay the same")
class OtherData(Numbers):
    starts = itertools.count()

    def train(self) -> Observations:
        return Noise(next(self.starts))


# --- parts that claim to be causal -----------------------------------------------------------------------------------


STEPS = {
    "dim": 6,
    "grid": Grid(6),
    "causal": True,
    "compiled": False,
    "cond": Tokens(torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(3)), Grid(5).pos().expand(2, -1, -1)),
}


class Stepping(Predictor):
    """Each answer from the mean of all frames and actions before it; subclasses spoil it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.done = nn.Linear(6, 6), nn.Linear(3, 6)

    def forward(self, context: Tokens, query: Tensor, cond: Tokens | None = None, mask: int = 0) -> Tokens:
        assert cond is not None
        time = query[..., :1]  # [B, M, Q, 1]
        seen = self.share(context.pos[..., 0][:, :, None] < time)  # [B, M, Q, K]
        done = self.share(self.acts(cond.pos[..., 0][:, None, None], time))  # [B, M, Q, A]
        x = torch.tanh(self.seen(seen @ context.x) + self.done(done @ cond.x[:, None]) + 0.1 * time)
        return Tokens(x, query)

    def share(self, before: Tensor) -> Tensor:
        return before / before.sum(-1, keepdim=True).clamp_min(1)

    def acts(self, time: Tensor, asked: Tensor) -> Tensor:
        return time < asked


@breaks("the future has no influence on the past", **STEPS)
class SeesAll(Stepping):
    def share(self, before: Tensor) -> Tensor:
        return torch.ones_like(before) / before.shape[-1]


@breaks("the future has no influence on the past", **STEPS)
class ActsTooEarly(Stepping):
    """An action counts for the frame that it leaves: off by one."""

    def acts(self, time: Tensor, asked: Tensor) -> Tensor:
        return time <= asked


@breaks("what is done has influence", **STEPS)
class Passive(Stepping):
    def acts(self, time: Tensor, asked: Tensor) -> Tensor:
        return (time < asked) & (time < 0)


FRAMES = {
    "obs": torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(4)),
    "footprint": torch.arange(6)[:, None].expand(6, 3),
    "causal": True,
    "compiled": False,
}


@breaks("the future has no influence on the past", **FRAMES)
class LooksAhead(Encoder):
    """Frame by frame where frames are kept, but with the mean of all of them where all are encoded."""

    dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 4)

    def grid(self, obs_shape: Any) -> Grid:
        return Grid(obs_shape[0])

    def forward(self, obs: Any, keep: Any = None) -> Tokens:
        x, pos = self.net(obs), self.grid(obs.shape[1:]).pos().expand(len(obs), -1, -1)
        return Tokens(x + x.mean(1, keepdim=True), pos) if keep is None else Tokens(x, pos).select(keep)


@breaks("all samples come with a condition, or none")
class SometimesActs(Noise):
    def observe(self, index: int, rng: torch.Generator | None = None) -> Any:
        obs = super().observe(index, rng)
        return Conditioned(obs, Tokens(torch.zeros(1, 2), torch.zeros(1, 3))) if index else obs


# ---------------------------------------------------------------------------------------------------------------------

SOUND: list[Any] = [
    (Drawing(), {}),
    (Pixels(), {"obs": PIXELS}),
    (ENCODER, {"obs": PIXELS}),
    (Answering(), {"dim": 6}),
    (Stepping(), STEPS),
    (Copy(), TARGET),
    (Distance(), {"zero": True}),
    (Noise(), {}),
    (Numbers(), {}),
]


@pytest.mark.parametrize(("part", "samples"), SOUND, ids=lambda value: type(value).__name__)
def test_what_the_broken_parts_are_made_from_is_sound(part: object, samples: dict[str, Any]) -> None:
    check(part, **samples)


@pytest.mark.parametrize(("kind", "promise", "samples"), BROKEN)
def test_broken_promises_are_named(kind: type, promise: str, samples: dict[str, Any]) -> None:
    torch.manual_seed(0)
    with pytest.raises(ContractError, match=rf"^{kind.__name__} breaks the promise '.*{re.escape(promise)}"):
        check(kind(), **samples)


def told_promises() -> set[str]:
    """The promises that `worldjepa.testing` can name: the string literals in that argument of `Subject`'s methods."""
    place = {"holds": 1, "same": 2, "close": 2, "differ": 2, "shape": 2, "broken": 0}
    tree = ast.parse(Path(worldjepa.testing.__file__).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    named = [node.args[place[node.func.attr]] for node in calls if getattr(node.func, "attr", None) in place]
    named += [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in ("promise", "told")
    ]
    parts = [part for node in named for part in ast.walk(node)]
    return {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def test_every_promise_is_broken_by_some_part() -> None:
    told, named = told_promises(), [str(param.values[1]) for param in BROKEN]
    assert len(told) > 40
    assert not sorted(promise for promise in told if not any(name in promise or promise in name for name in named))


def test_an_overlap_that_is_meant_can_be_declared() -> None:
    check(Overlapping(), disjoint=False)
    check(Shared(), random=False)
    with pytest.raises(ContractError, match="disjoint=False"):
        check(Overlapping())
    check(MultiBlock(min_context=4))
