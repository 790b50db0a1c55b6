"""The files that V-JEPA's repository writes and Meta releases: I-JEPA's parts, every name behind `module.backbone.`."""

from __future__ import annotations

from worldjepa.interop.clips import clip_of, part_of, parts_of_clips, read_encoder, read_predictor, turns
from worldjepa.interop.ijepa import check_parts
from worldjepa.interop.layout import Found, Layout, meta_terms
from worldjepa.interop.sizes import JEPA, Ask
from worldjepa.interop.source import Source

NAME = "V-JEPA"


def matches(source: Source) -> bool:
    """Whether a file has parts that take clips and add a position code."""
    parts = parts_of_clips(source)
    return bool(parts) and not turns(parts)


def read(source: Source, ask: Ask) -> Found:
    """Read encoder and predictor, which has as many heads as the encoder.

    Raises:
        UserError: a part is missing, or does not hold exactly its tensors.
    """
    check_parts(source, ask)
    encoder = read_encoder(part_of(source, ask.which), ask, f"{source.path} ({ask.which})", JEPA, stored=True)
    where, heads = f"{source.path} (predictor)", encoder.node["heads"]
    predictor = read_predictor(part_of(source, "predictor"), encoder.node, heads, where, stored=True)
    return Found(NAME, encoder, predictor, clip_of(encoder.node), meta_terms(source.path, certain=True, method=NAME))


LAYOUT = Layout(NAME, matches, read)
