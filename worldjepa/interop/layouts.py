"""All layouts that can be read. To add one: a file with a `LAYOUT`, and its line here. The first that matches is taken."""

from __future__ import annotations

from worldjepa.errors import UserError
from worldjepa.interop import huggingface, huggingface_vjepa2, ijepa, runs, saved, timm_vit, vjepa, vjepa2, vjepa2_ac
from worldjepa.interop.layout import Layout
from worldjepa.interop.source import Source

LAYOUTS: tuple[Layout, ...] = (
    runs.LAYOUT,
    saved.LAYOUT,
    huggingface.LAYOUT,
    huggingface_vjepa2.LAYOUT,
    vjepa2_ac.LAYOUT,
    vjepa2.LAYOUT,
    vjepa.LAYOUT,
    ijepa.LAYOUT,
    timm_vit.LAYOUT,
)


def detect(source: Source) -> Layout:
    """The layout of a file or folder.

    Raises:
        UserError: it is none that is known; or it cannot be read at all.
    """
    for layout in LAYOUTS:
        if layout.matches(source):
            return layout
    names = sorted(source.keys)
    holds = f"it holds {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}" if names else "it holds no weights"
    kind = source.config.get("model_type")
    said = f"; its config.json says model_type={str(kind)[:40]}" if kind is not None else ""
    raise UserError(
        f"{source.path} has none of the layouts that are known ({', '.join(one.name for one in LAYOUTS)}): {holds}{said}"
    )
