"""Sizes: read from the tensors, except for the number of heads, which they do not show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isqrt
from typing import NamedTuple

from torch import Tensor

from worldjepa.errors import UserError, unknown


class Size(NamedTuple):
    """A published size of vision transformer."""

    width: int
    depth: int
    heads: int
    hidden: int


SIZES = {
    "tiny": Size(192, 12, 3, 768),
    "small": Size(384, 12, 6, 1536),
    "base": Size(768, 12, 12, 3072),
    "large": Size(1024, 24, 16, 4096),
    "huge": Size(1280, 32, 16, 5120),
    "giant": Size(1408, 40, 16, 6144),
}
"""The sizes of I-JEPA and V-JEPA. Their giant has 16 heads; V-JEPA 2's of the same width has 22."""

ARCHS = {f"vit{name[0]}{patch}": (size, patch) for name, size in SIZES.items() for patch in (8, 14, 16)}
"""The names that `arch=` takes, as in `configs/arch/`."""


class Family(NamedTuple):
    """Published sizes, and what they are called: the same width and depth have other heads elsewhere."""

    sizes: Mapping[str, Size]
    archs: Mapping[str, tuple[Size, int]]
    """By the name that `arch=` takes: size, and side of a patch."""


JEPA = Family(SIZES, ARCHS)
_VJEPA2_SIZES = {"large": SIZES["large"], "huge": SIZES["huge"], "giant": Size(1408, 40, 22, 6144)}
VJEPA2 = Family(_VJEPA2_SIZES, {f"vjepa2_vit{name[0]}16": (size, 16) for name, size in _VJEPA2_SIZES.items()})

_LONG = re.compile(rf"vit_({'|'.join(SIZES)})(?:_patch(\d+))?(?:[_.].*)?")


class Shape(NamedTuple):
    """What the tensors of an encoder or predictor show."""

    width: int
    depth: int
    hidden: int


class Ask(NamedTuple):
    """What the user said about a file."""

    arch: str | None = None
    """The name of its architecture, `vith14` or timm's `vit_huge_patch14`."""
    heads: int | None = None
    which: str = "target_encoder"
    """Which of two encoders."""
    allow: Sequence[str] = ()
    """Prefixes of classes that its configuration may construct besides our own."""


def depth_of(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """How many blocks the names speak of, `prefix` followed by a number and a dot; at most as many as there are tensors."""
    found = re.compile(re.escape(prefix) + r"(\d{1,6})\.")
    numbers = {int(match[1]) for name in tensors if (match := found.match(name))}
    return min(max(numbers, default=-1) + 1, len(tensors))


def check_names(tensors: Mapping[str, Tensor], expected: Sequence[str], where: str) -> None:
    """Compare names, so that every tensor finds its place.

    Raises:
        UserError: lists those that are missing and those that are left over.
    """
    missing = [name for name in expected if name not in tensors]
    extra = sorted(tensors.keys() - set(expected))
    if missing or extra:
        parts = [("missing", missing), ("left over", extra)]
        told = "; ".join(
            f"{len(some)} {what}: {', '.join(some[:8])}{' ...' if len(some) > 8 else ''}"
            for what, some in parts
            if some
        )
        raise UserError(f"{where} does not hold exactly the tensors of its layout: {told}")


def axes_of(tensor: Tensor, count: int, name: str, where: str) -> tuple[int, ...]:
    """The shape of a tensor that must have `count` axes.

    Raises:
        UserError: it has another number, or one of them is empty.
    """
    if tensor.ndim != count or not all(tensor.shape):
        raise UserError(f"{where}: '{name}' has the shape {list(tensor.shape)}, expected {count} axes")
    return tuple(tensor.shape)


def square(tokens: int, where: str) -> tuple[int, int]:
    """The lattice of a position code of which only the number of tokens is known.

    Raises:
        UserError: it is not square.
    """
    side = isqrt(tokens)
    if side * side != tokens:
        raise UserError(f"{where}: its position code has {tokens} tokens, which is not a square grid")
    return side, side


def published_heads(shape: Shape, family: Family) -> int | None:
    """The heads of the published size that has this shape."""
    return next((size.heads for size in family.sizes.values() if (size.width, size.depth, size.hidden) == shape), None)


def heads_of(shape: Shape, patch: int, ask: Ask, said: int | None, where: str, family: Family = JEPA) -> int:
    """The number of attention heads.

    Args:
        shape: of the encoder.
        patch: side of its patches.
        ask: what the user says.
        said: what a configuration beside the weights says.
        where: the file, for messages.
        family: the sizes that were published.

    Raises:
        UserError: nobody says it, two say different numbers, or the named architecture has another size.
    """
    claims = {"heads": ask.heads, f"arch={ask.arch}": None, "its config.json": said}
    if ask.arch is not None:
        claims[f"arch={ask.arch}"] = _named(ask.arch, shape, patch, where, family)
    given = {who: number for who, number in claims.items() if number is not None}
    if len(set(given.values())) > 1:
        raise UserError(
            f"{where}: the number of heads is not agreed on: "
            + ", ".join(f"{who} says {n}" for who, n in given.items())
        )
    heads = next(iter(given.values()), published_heads(shape, family))
    if heads is None:
        raise UserError(
            f"{where}: weights of width {shape.width} and depth {shape.depth} do not show how many heads they have: "
            "give heads=NUMBER, or arch=NAME"
        )
    if heads < 1 or shape.width % heads:
        raise UserError(f"{where}: width {shape.width} does not divide among heads={heads}")
    return heads


def _named(arch: str, shape: Shape, patch: int, where: str, family: Family) -> int:
    """The heads of a named architecture, once the tensors agree with it."""
    long = _LONG.fullmatch(arch)
    if arch in family.archs:
        size, side = family.archs[arch]
    elif long is not None and long[1] in family.sizes:
        size, side = family.sizes[long[1]], int(long[2] or patch)
    else:
        raise unknown("arch", arch, family.archs)
    named = Shape(size.width, size.depth, size.hidden)
    if named != shape or side != patch:
        raise UserError(
            f"{where} is not arch={arch}: its width, depth, hidden width and patch are {shape.width}, {shape.depth}, "
            f"{shape.hidden}, {patch}; those of {arch} are {named.width}, {named.depth}, {named.hidden}, {side}"
        )
    return size.heads
