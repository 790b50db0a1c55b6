"""`worldjepa export`: a model in the layout of others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worldjepa.cli.arguments import parse
from worldjepa.cli.own import OPENING, opened, sort, whole

HELP = """
usage: worldjepa export checkpoint=PATH format=hf|timm|worldjepa out=FOLDER [size=PIXELS]
                        [arch=NAME] [heads=NUMBER] [which=encoder] [allow=PREFIX]

Writes a model so that transformers (IJepaModel.from_pretrained) or timm (create_model("local-dir:FOLDER", pretrained=True))
loads it; both take the encoder alone. Models of clips go to transformers' VJEPA2Model with their predictor, if they are of
V-JEPA 2's kind. format=worldjepa keeps the predictor, for worldjepa.load.

  checkpoint=PATH    a run folder, a checkpoint, or released weights: a file of I-JEPA, V-JEPA or V-JEPA 2, a Hugging
                     Face folder, timm's
  out=FOLDER         a new or empty folder
  size=PIXELS        side of images or clips to export for, where it is not known or to be another one than in training
  arch=, heads=      the architecture's name, or its number of attention heads, where a file does not say it
  which=encoder      the trained encoder in place of its moving average
  allow=PREFIX       let the checkpoint's configuration construct classes of yours, such as allow=mypackage.
"""


def run(words: Sequence[str]) -> int:
    """Export the checkpoint that the words name.

    Returns:
        The exit code.

    Raises:
        UserError: a word is not understood, or the model cannot be loaded or has no place in that layout.
    """
    own, _ = sort(
        "export", parse(words).words, (*OPENING, "format", "out", "size"), needed=("checkpoint", "format", "out")
    )
    model = opened(own)
    from worldjepa.interop.export import export

    folder = export(model, own["format"], Path(own["out"]).expanduser(), whole(own, "size"))
    print(f"written: {folder}")
    return 0
