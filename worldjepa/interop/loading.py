"""`worldjepa.load`: a path in, a model out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from worldjepa.interop.build import build_encoder, build_predictor
from worldjepa.interop.layout import Found
from worldjepa.interop.layouts import detect
from worldjepa.interop.model import Pretrained
from worldjepa.interop.sizes import Ask
from worldjepa.interop.source import Source


def load(
    path: str | Path,
    arch: str | None = None,
    heads: int | None = None,
    which: str = "target_encoder",
    allow: Sequence[str] = (),
) -> Pretrained:
    """Load a checkpoint of any layout: of I-JEPA, V-JEPA, V-JEPA 2, V-JEPA 2-AC, Hugging Face, timm, runs, `worldjepa.save`.

    Sizes are read from the tensors. Every tensor must find its place, and nothing is ever unpickled but plain tensors. The
    terms of weights that are not free are printed.

    Args:
        path: a file or folder on disk.
        arch: the architecture's name (`vith14`, `vjepa2_vitg16`, or timm's `vit_huge_patch14`), where the number of heads
            cannot be told.
        heads: or that number.
        which: `target_encoder` or `encoder`, where a checkpoint has both.
        allow: prefixes of classes of yours that a checkpoint's configuration may construct, such as `mypackage.`.

    Raises:
        worldjepa.errors.UserError: the file is not there, hostile, damaged, of no known layout, or not exactly what its layout
            holds; the message lists the tensors that are missing or left over.
    """
    found = read(path, Ask(arch, heads, which, allow))
    tell(found)
    return built(found, str(path))


def read(path: str | Path, ask: Ask) -> Found:
    """Detect the layout of a checkpoint and read it; nothing is built yet.

    Raises:
        UserError: see `load`.
    """
    source = Source(path)
    return detect(source).read(source, ask)


def built(found: Found, where: str) -> Pretrained:
    """The model of what was read.

    Raises:
        UserError: the weights do not fit.
    """
    encoder = build_encoder(found.encoder, where)
    predictor = None if found.predictor is None else build_predictor(found.predictor, where, encoder.dim)
    facts = {
        "layout": found.layout,
        "image": found.image,
        "licence": found.licence,
        "steps": found.steps,
        "view": found.view or {},
        "encoder": found.encoder.node,
        "predictor": None if found.predictor is None else found.predictor.node,
    }
    return Pretrained(encoder, predictor, facts)


def tell(found: Found) -> None:
    """Print the terms that the weights come with."""
    if found.licence is not None:
        print(f"note: {found.licence}", file=sys.stderr)
