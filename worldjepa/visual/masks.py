"""The masks that a sampler draws, on the observations, and how often each place is seen and asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int, Int64, Shaped, UInt8
from numpy import ndarray
from torch import Tensor

from worldjepa.interfaces import Encoder, MaskSampler
from worldjepa.types import Grid, Masks
from worldjepa.visual.colours import GREY, heat, of_set
from worldjepa.visual.depiction import Depiction
from worldjepa.visual.sheet import INK, Cell, Shown, legend, sheet, side_of, sized, spread, strip

MOST_SETS = 4
"""Sets with a context of their own that are shown of a mask."""
FADED, TINTED = 0.8, 0.6
"""How much of a place that does not matter is grey, and how much of one that is asked is its set's colour."""


class Coverage(NamedTuple):
    """For each token the share of samples in which it is seen, and in which it is asked, by whichever set."""

    context: Float64[ndarray, " N"]
    target: Float64[ndarray, " N"]


def coverage(sampler: MaskSampler, grid: Grid, samples: int, batch: int, rng: torch.Generator) -> Coverage:
    """How often each place is context and target.

    Args:
        sampler: draws.
        grid: where.
        samples: how many at least; whole batches are drawn.
        batch: samples that are drawn at once. Sets of a batch are cut to one length, so it matters.
        rng: the generator that decides.
    """
    totals = np.zeros((2, grid.size))
    batches = -(-samples // batch)
    for _ in range(batches):
        drawn = sampler(grid, batch, rng)
        for total, which in zip(totals, (0, 1), strict=True):
            hit = np.zeros((batch, grid.size), bool)
            for masks in drawn:
                hit |= members(masks[which], grid.size).any(1)
            total += hit.sum(0)
    return Coverage(*(totals / (batches * batch)))


def members(sets: Int[Tensor, "B S K"], tokens: int) -> Bool[ndarray, "B S N"]:
    """Which tokens are in each set."""
    found = torch.zeros(*sets.shape[:2], tokens, dtype=torch.bool)
    hit: Bool[ndarray, "B S N"] = found.scatter_(2, sets, torch.ones_like(sets, dtype=torch.bool)).numpy()
    return hit


def masks_picture(
    sampler: MaskSampler,
    encoder: Encoder,
    obs: Shaped[Tensor, "B ..."],
    depiction: Depiction,
    seed: int = 0,
    draws: int = 2,
    samples: int = 512,
    batch: int = 64,
) -> Shown:
    """Draw masks on observations, and the coverage of many more draws.

    Args:
        sampler: draws, see `MaskSampler.at` for samplers that change during a run.
        encoder: says where tokens stand; its weights do not matter.
        obs: the observations; all of them are shown.
        depiction: how they become pictures.
        seed: decides the draws.
        draws: how many are shown for each observation.
        samples: how many the coverage is taken over.
        batch: how many are drawn at once for it.

    Raises:
        UserError: the sampler does not fit the lattice, or the observations cannot be drawn.
    """
    grid = encoder.grid(obs.shape[1:])
    places = depiction.places(grid)
    pictures = sized(depiction.pictures(obs.cpu(), grid), side_of(len(places)))
    rng = torch.Generator().manual_seed(seed)
    drawn = [sampler(grid, len(obs), rng) for _ in range(draws)]
    cover = coverage(sampler, grid, samples, batch, rng)
    rows: list[list[Cell]] = []
    for index, frames in enumerate(pictures):
        cells = [Cell(strip(frames), "input")]
        for number, several in enumerate(drawn):
            cells += _cells(frames, places, several, index, f"draw {number + 1}" if draws > 1 else "")
        rows += [cells] if len(frames) == 1 else [[cell] for cell in cells]
    numbers = {"sampler": type(sampler).__name__, "grid": list(grid), **_numbers(cover, drawn[0]), "samples": samples}
    maps = _maps(cover, places, pictures.shape[-3:-1])
    rows += [maps] if len(places) == 1 else [[cell] for cell in maps]
    rows.append([legend(f"share of {samples} samples", "0", "1")])
    title = f"{type(sampler).__name__} on {grid.t} x {grid.h} x {grid.w} tokens"
    return Shown(
        sheet(rows, title), _words(numbers), {**numbers, "coverage": {k: v.tolist() for k, v in _named(cover)}}
    )


def _cells(
    frames: UInt8[ndarray, "F H W 3"], places: Int64[ndarray, "F h w"], drawn: Sequence[Masks], index: int, name: str
) -> list[Cell]:
    """What is seen and what is asked of one observation: side by side, or in one where each set sees something else.

    In one also where there are several frames.
    """
    cells = []
    for number, masks in enumerate(drawn):
        beginning = ", ".join(part for part in (name, f"mask {number + 1}" if len(drawn) > 1 else "") if part)
        seen = members(masks.context, places.size)[index]  # [C, N]
        asked = members(masks.target, places.size)[index]  # [M, N]
        nothing = np.zeros_like(seen[0])
        if len(seen) == 1 and len(frames) > 1:
            parts = [("what is seen, and in colour what is asked", seen[0], asked)]
        elif len(seen) == 1:
            parts = [("seen", seen[0], asked[:0]), ("asked", nothing, asked)]
        else:
            parts = [(f"set {i + 1}", seen[i], asked[i : i + 1]) for i in range(min(len(seen), MOST_SETS))]
        for what, visible, sets in parts:
            picture = strip(painted(frames, visible[places], sets[:, places]))
            cells.append(Cell(picture, f"{beginning}: {what}" if beginning else what))
    return cells


def painted(
    frames: UInt8[ndarray, "F H W 3"], seen: Bool[ndarray, "F h w"], sets: Bool[ndarray, "M F h w"]
) -> UInt8[ndarray, "F H W 3"]:
    """Pictures as they are where they are seen, tinted where they are asked, each set in its colour, otherwise faded."""
    asked = np.asarray(sets.any(0))
    tint = np.zeros((*seen.shape, 3))
    for number, one in enumerate(sets):
        tint += one[..., None] * of_set(number)
    tint = np.where(asked[..., None], tint / np.maximum(sets.sum(0), 1)[..., None], GREY)
    strength = np.where(asked, TINTED, np.where(seen, 0.0, FADED))[..., None]
    # Colour and strength travel together, so that they are spread alike.
    high, wide = frames.shape[1:3]
    hue, share = spread(tint, high, wide), spread(strength.repeat(3, -1), high, wide)
    result = np.round(frames * (1 - share) + hue * share).astype(np.uint8)
    for one, colour, thick in [(seen, INK, 1), *((one, of_set(number), 2) for number, one in enumerate(sets))]:
        inside = spread(one[..., None].repeat(3, -1), high, wide)[..., 0]
        result[inside & ~inner(inside, thick)] = colour
    return np.asarray(result)


def inner(inside: Bool[ndarray, "F H W"], thick: int) -> Bool[ndarray, "F H W"]:
    """The pixels of an area that lie at least `thick` pixels from where it ends."""
    padded = np.pad(inside, ((0, 0), (thick, thick), (thick, thick)))
    high, wide = inside.shape[1:]
    shifts = [(0, thick), (2 * thick, thick), (thick, 0), (thick, 2 * thick)]
    parts = [padded[:, top : top + high, left : left + wide] for top, left in shifts]
    return np.asarray(np.logical_and.reduce([inside, *parts]))


def _maps(cover: Coverage, places: Int64[ndarray, "F h w"], size: tuple[int, int]) -> list[Cell]:
    cells = []
    for name, share in _named(cover):
        picture = strip(spread(heat(share[places]), *size))
        cells.append(Cell(picture, f"{name}: {share.mean():.2f}, {share.min():.2f} to {share.max():.2f}"))
    return cells


def _named(cover: Coverage) -> list[tuple[str, Float64[ndarray, " N"]]]:
    return [("context", cover.context), ("target", cover.target)]


def _numbers(cover: Coverage, drawn: Sequence[Masks]) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"{name}_share": {
            "mean": share.mean(),
            "rarest": share.min(),
            "most": share.max(),
            "never": int((share == 0).sum()),
        }
        for name, share in _named(cover)
    }
    found["masks"] = [
        {
            "contexts": masks.context.shape[1],
            "context_tokens": masks.context.shape[2],
            "targets": masks.target.shape[1],
            "target_tokens": masks.target.shape[2],
        }
        for masks in drawn
    ]
    return found


def _words(numbers: dict[str, Any]) -> str:
    tokens = int(np.prod(numbers["grid"]))
    lines = [f"{numbers['sampler']}, {tokens} tokens; shares of {numbers['samples']} samples, by any of their sets"]
    for number, one in enumerate(numbers["masks"]):
        lines.append(
            f"mask {number + 1} of the first draw: {one['contexts']} context(s) of {one['context_tokens']} tokens, "
            f"{one['targets']} target(s) of {one['target_tokens']}"
        )
    for name in ("context", "target"):
        share = numbers[f"{name}_share"]
        lines.append(
            f"{name}: a place is one in {share['mean']:.3f} of the samples, the rarest in {share['rarest']:.3f}, the most "
            f"frequent in {share['most']:.3f}; {share['never']} of {tokens} never are"
        )
    return "\n".join(lines)
