"""The files that I-JEPA's repository writes and Meta releases: `encoder`, `target_encoder` and `predictor`, DDP-wrapped.

Every name carries the prefix `module.`. Of the two encoders the target encoder is the one that was evaluated; Hugging Face's
copies hold the other.
"""

from __future__ import annotations

from worldjepa.errors import UserError, unknown
from worldjepa.interop.layout import Found, Layout, meta_terms
from worldjepa.interop.sizes import Ask
from worldjepa.interop.source import Source
from worldjepa.interop.vit import image_of, read_encoder, read_predictor

NAME = "I-JEPA"
ENCODERS = ("target_encoder", "encoder")


def matches(source: Source) -> bool:
    """Whether a file has an encoder or a predictor as a part."""
    return source.path.is_file() and bool(source.keys & {*ENCODERS, "predictor"})


def read(source: Source, ask: Ask) -> Found:
    """Read encoder and predictor.

    Raises:
        UserError: a part is missing, or does not hold exactly its tensors.
    """
    check_parts(source, ask)
    encoder = read_encoder(source.tensors(ask.which), ask, f"{source.path} ({ask.which})")
    predictor = read_predictor(source.tensors("predictor"), encoder.node, f"{source.path} (predictor)")
    return Found(NAME, encoder, predictor, image_of(encoder.node), meta_terms(source.path, certain=True))


def check_parts(source: Source, ask: Ask) -> None:
    """Make sure that the encoder that is asked for and the predictor are there.

    Raises:
        UserError: names the part that is not.
    """
    if ask.which not in ENCODERS:
        raise unknown("which", ask.which, ENCODERS)
    for part in (ask.which, "predictor"):
        if part not in source.keys:
            there = ", ".join(name for name in (*ENCODERS, "predictor") if name in source.keys)
            raise UserError(f"{source.path} has no '{part}', only {there}")


LAYOUT = Layout(NAME, matches, read)
