"""`worldjepa embed`: representations of all observations of a data set, on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worldjepa.cli.arguments import parse
from worldjepa.cli.own import OPENING, opened, sort, whole
from worldjepa.cli.paths import not_there
from worldjepa.errors import UserError, unknown

HELP = """
usage: worldjepa embed checkpoint=PATH data.root=FOLDER out=FOLDER [pool=mean|patches] [format=npy|parquet] [chunk=NUMBER]
                       [data=OPTION] [data.KEY=VALUE] [run.KEY=VALUE] [--config-dir DIR ...]

Writes one embedding per observation, with the names of the files: embeddings.npy and names.json, or embeddings.parquet. The
same command goes on where it was stopped. Files that cannot be read are left out and listed in embed.json.

  checkpoint=PATH    a run folder, a checkpoint, or released weights: a file of I-JEPA, V-JEPA or V-JEPA 2, a Hugging
                     Face folder, timm's
  out=FOLDER         where to write; it is made
  pool=mean          the mean of all tokens [N, width]; pool=patches keeps them all [N, tokens, width]
  format=npy         or parquet (needs the extra worldjepa[parquet])
  chunk=1024         observations between two points from which to go on
  data=, data.KEY=   the data; by default all of the folder data.root, seen as in the training of the model
  run.KEY=VALUE      run.accelerator, run.precision, run.threads; run.batch_size at a time
  arch=, heads=, which=, allow=   as for `worldjepa export`
"""


def run(words: Sequence[str]) -> int:
    """Embed the data that the words name.

    Returns:
        The exit code.

    Raises:
        UserError: a word is not understood, the model or the data cannot be had, or the folder belongs to other embeddings.
    """
    arguments = parse(words)
    keys = (*OPENING, "out", "pool", "format", "chunk")
    own, overrides = sort("embed", arguments.words, keys, ("data", "run"), needed=("checkpoint", "out"))
    if not overrides:
        raise UserError("embed needs data: data.root=FOLDER, or data=OPTION (`worldjepa list data`)")
    for folder in arguments.config_dirs:
        if not folder.is_dir():
            raise not_there("--config-dir", folder)
    from worldjepa.evaluate.export import FORMATS, POOLS, Wanted

    pool, layout = own.get("pool", "mean"), own.get("format", "npy")
    if pool not in POOLS:
        raise unknown("pool", pool, POOLS)
    if layout not in FORMATS:
        raise unknown("format", layout, FORMATS)
    wanted = Wanted(Path(own["out"]).expanduser(), pool, layout, whole(own, "chunk") or 1024)
    wanted.check()
    model = opened(own)
    from worldjepa.cli.embedding import embed_data

    return embed_data(model, own["checkpoint"], overrides, arguments.config_dirs, wanted)
