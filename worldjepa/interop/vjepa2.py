"""The files that V-JEPA 2's repository writes and Meta releases: those of V-JEPA without a position code."""

from __future__ import annotations

from torch import Tensor

from worldjepa.interop.clips import CODES, part_of, parts_of_clips, read_encoder, read_predictor, turns
from worldjepa.interop.ijepa import check_parts
from worldjepa.interop.layout import Found, Layout, vjepa2_terms
from worldjepa.interop.sizes import VJEPA2, Ask
from worldjepa.interop.source import Source

NAME = "V-JEPA 2"

PREDICTOR_HEADS = 12
"""Of every published predictor, whatever the heads of its encoder."""


def matches(source: Source) -> bool:
    """Whether a file has parts that take clips and turn queries and keys."""
    parts = parts_of_clips(source)
    return bool(parts) and turns(parts)


def read(source: Source, ask: Ask) -> Found:
    """Read encoder and predictor. Nothing tells the size of the clips that they were trained on, nor depends on it.

    Raises:
        UserError: a part is missing, or does not hold exactly its tensors.
    """
    check_parts(source, ask)
    encoder = read_encoder(without_code(source, ask.which), ask, f"{source.path} ({ask.which})", VJEPA2, stored=False)
    where = f"{source.path} (predictor)"
    predictor = read_predictor(without_code(source, "predictor"), encoder.node, PREDICTOR_HEADS, where, stored=False)
    return Found(NAME, encoder, predictor, None, vjepa2_terms(source.path, certain=True))


def without_code(source: Source, part: str) -> dict[str, Tensor]:
    """The tensors of a part without V-JEPA's position code, which may be there and is of no use."""
    return {name: value for name, value in part_of(source, part).items() if name not in CODES}


LAYOUT = Layout(NAME, matches, read, VJEPA2)
