"""`worldjepa imagine`: show what a model imagines, and measure whether it is right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worldjepa.cli.arguments import parse
from worldjepa.cli.own import OPENING, ask, natural, number, place, sort, whole
from worldjepa.cli.paths import not_there
from worldjepa.errors import UserError, unknown

HELP = """
usage: worldjepa imagine checkpoint=PATH out=FOLDER [inputs=FILE,...] [data=OPTION] [data.KEY=VALUE] [run.KEY=VALUE]
                         [steps=1600] [samples=4] [guidance=1] [rows=8] [count=256] [train_on=predicted] [seed=0] ...

Trains a decoder from what the frozen predictor says back to pictures, and shows what it imagines: of pictures a block that it
has not seen, of clips a block that lasts, or the last frames, of sounds a part of the spectrogram, of a world model the frames
that follow. Writes imagined.png, of clips also imagined.gif and imagined.mp4, of sounds also wav files; measure.json; and the
decoder, which the next call with the same settings takes again.

  checkpoint=PATH    a run folder, a checkpoint, or released weights that hold a predictor
  out=FOLDER         where to write; it is made
  inputs=FILE,...    pictures to show, or a folder of them; by default some of those that were held out
  steps=1600         steps that the decoder is trained, batch=16 at a time, on examples=4000 predictions
  control=300        steps of the control, which draws the mean of what could be
  samples=4          imagined pictures of each prediction, drawn in denoise=25 steps
  guidance=1         how far samples follow the prediction: 0 not at all, above 1 more than it says
  rows=8             observations that are shown
  count=256          scenes that are measured; 0 measures nothing
  train_on=predicted train the decoder on predictions, or on the target encoder's representations: target
  block=0.2          share of a picture that is imagined; blocks=2 of them are hidden, the first is drawn
  future=0           frames at the end of a clip or a sound that are imagined; 0 imagines a block
  radius=0.06        how near a place must be to count as right, where the state of a world is known
  width=32           channels of the decoder's network
  decoder=unet       or diffusers: network and schedule of that package (needs the extra worldjepa[diffusion])
  seed=0
  data=, data.KEY=, run.accelerator, run.threads   as for `worldjepa eval`
  arch=, heads=, which=, allow=   as for `worldjepa export`
"""

DECODERS = ("unet", "diffusers")
TRAIN_ON = ("predicted", "target")
_OWN = (
    *OPENING,
    *("out", "inputs", "steps", "batch", "examples", "control", "samples", "denoise", "guidance", "rows", "count"),
    *("train_on", "block", "blocks", "future", "radius", "width", "decoder", "seed"),
)


def run(words: Sequence[str]) -> int:
    """Train the decoder, draw and measure.

    Returns:
        The exit code.

    Raises:
        UserError: a word is not understood, or the checkpoint has nothing that can be shown.
    """
    arguments = parse(words)
    own, overrides = sort("imagine", arguments.words, _OWN, ("data", "run"), needed=("checkpoint", "out"))
    if own.get("train_on", "predicted") not in TRAIN_ON:
        raise unknown("train_on", own["train_on"], TRAIN_ON)
    if own.get("decoder", "unet") not in DECODERS:
        raise unknown("decoder", own["decoder"], DECODERS)
    checkpoint, out = place(own), Path(own["out"]).expanduser()
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file: name a folder")
    for folder in arguments.config_dirs:
        if not folder.is_dir():
            raise not_there("--config-dir", folder)
    inputs = [Path(name).expanduser() for name in own.get("inputs", "").split(",") if name]
    for path in inputs:
        if not path.exists():
            raise not_there("inputs", path)
    asked = ask(own)
    from worldjepa.cli.imagined_model import Wanted
    from worldjepa.cli.imagining import imagine

    default = Wanted()
    wanted = Wanted(
        steps=whole(own, "steps") or default.steps,
        batch=whole(own, "batch") or default.batch,
        examples=whole(own, "examples") or default.examples,
        control=whole(own, "control") or default.control,
        samples=whole(own, "samples") or default.samples,
        denoise=whole(own, "denoise") or default.denoise,
        guidance=number(own, "guidance", default.guidance),
        rows=whole(own, "rows") or default.rows,
        count=natural(own, "count", default.count),
        train_on=own.get("train_on", default.train_on),
        block=number(own, "block", default.block),
        blocks=whole(own, "blocks") or default.blocks,
        future=natural(own, "future", default.future),
        radius=number(own, "radius", default.radius),
        width=whole(own, "width") or default.width,
        decoder=own.get("decoder", default.decoder),
        seed=natural(own, "seed", default.seed),
    )
    return imagine(checkpoint, overrides, arguments.config_dirs, out, inputs, wanted, asked)
