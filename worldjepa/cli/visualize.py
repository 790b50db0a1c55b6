"""`worldjepa visualize`: pictures of what a model sees, asks, attends to and believes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from worldjepa.cli.arguments import parse
from worldjepa.cli.own import OPENING, ask, natural, number, place, sort, whole
from worldjepa.cli.paths import not_there
from worldjepa.errors import UserError, unknown

HELP = """
usage: worldjepa visualize KIND checkpoint=PATH [out=FILE.png] [count=4] [seed=0] [key=value ...] [data=OPTION]
                           [data.KEY=VALUE] [run.KEY=VALUE] [--config-dir DIR ...]

Draws a picture with its numbers, which are printed and written beside it: FILE.png and FILE.json.

  masks        the masks on the inputs, and how often each place is seen and asked. Also without a checkpoint:
               worldjepa visualize masks method=vjepa modality=video
                 draws=2 for each of count=2 inputs, samples=512 for the shares, progress=0 (to 1: share of the run)
  pca          principal components of the representations of places as colours, one basis for everything shown: several
               checkpoints, as checkpoint=[A,B] or all of a run folder, have the basis of the last
                 layer=-1, over=32 inputs make the basis, foreground=none (auto, above, below: of the first component),
                 centre=all (each: what differs within inputs, without the mean of each),
                 fit=last (own: a basis for each, axes and signs matched, for checkpoints of different runs)
  attention    what a token looks at
                 layer=-1, head=0,1,2,3, token=T,H,W on the lattice (the middle)
  neighbours   nearest neighbours by the representation, and which share the class
                 k=6, most=2000 observations are looked at, factor=NAME of the labels (the first)
  similarity   what is predicted for a hidden place: how well does it fit each place, and which rank has the true one?
                 over=32 inputs make the numbers
  energy       of a world model: how near to the goal each first action seems to lead
                 hold=4 steps, side=21 actions a side, tasks=any, cost=l2, reduce=last, planner=cem, over=32 tasks make the
                 numbers, env.KEY=VALUE

  checkpoint=PATH    a run folder or a checkpoint; pca, attention and neighbours also take released weights
  out=FILE.png       by default KIND.png
  count=4            inputs shown
  data=, data.KEY=   other data than those of the training; released weights bring none. masks and masks.KEY likewise
  arch=, heads=, which=, allow=   as for `worldjepa export`
"""

SHARED = (*OPENING, "out", "count", "seed")
KINDS: dict[str, tuple[str, ...]] = {
    "masks": ("draws", "samples", "progress"),
    "pca": ("layer", "over", "foreground", "fit", "centre"),
    "attention": ("layer", "head", "token"),
    "neighbours": ("k", "most", "factor"),
    "similarity": ("over",),
    "energy": ("hold", "side", "tasks", "cost", "reduce", "planner", "over"),
}
"""The keys of each kind, beside those that all share."""
CHOICES = {"foreground": ("none", "auto", "above", "below"), "fit": ("last", "own"), "centre": ("all", "each")}
"""What keys may say."""
WHOLE = ("draws", "samples", "over", "k", "most", "hold", "side")
"""The keys that are whole numbers above 0."""


class Asked(NamedTuple):
    """A picture that is asked for."""

    kind: str
    own: Mapping[str, str]
    """The verb's own words."""
    overrides: Sequence[str]
    """Those of the configuration."""
    config_dirs: Sequence[Path]
    paths: Sequence[Path]
    """The checkpoints; none for masks of a configuration alone."""
    out: Path
    shown: int
    seed: int

    def whole(self, key: str, default: int) -> int:
        """The value of a key as a whole number above 0.

        Raises:
            UserError: it is none.
        """
        return whole(self.own, key) or default

    @property
    def layer(self) -> int:
        """Which layer."""
        return int(self.own.get("layer", "-1"))

    def numbers(self, key: str) -> list[int] | None:
        """The whole numbers of a key, None where it is not given.

        Raises:
            UserError: something is no number.
        """
        given = self.own.get(key)
        parts = [part.strip() for part in given.strip("[]").split(",")] if given is not None else []
        if not all(part.isdecimal() and len(part) < 8 for part in parts):
            raise UserError(f"{key}={given}: give whole numbers with commas between them")
        return [int(part) for part in parts] if given is not None else None

    def share(self, key: str) -> float:
        """A number from 0 to 1, by default 0.

        Raises:
            UserError: it is none.
        """
        value = number(self.own, key, 0.0)
        if not 0 <= value <= 1:
            raise UserError(f"{key}={self.own[key]}: must lie between 0 and 1")
        return value


def run(words: Sequence[str]) -> int:
    """Draw the picture that the words name.

    Returns:
        The exit code.

    Raises:
        UserError: a word is not understood, or the picture cannot be had of this checkpoint.
    """
    arguments = parse(words)
    asked = understood(arguments.words, arguments.config_dirs)
    ask(asked.own)
    from worldjepa.cli.visualizing import visualize

    return visualize(asked)


def understood(words: Sequence[str], config_dirs: Sequence[Path]) -> Asked:
    """The words of the verb, sorted.

    Raises:
        UserError: one is not understood, or something is not there.
    """
    kind, *rest = words or [""]
    if not kind or "=" in kind or kind.startswith("-"):
        raise UserError(
            f"visualize needs a kind first: worldjepa visualize KIND checkpoint=PATH; kinds: {', '.join(KINDS)}"
        )
    if kind not in KINDS:
        raise unknown("kind of picture", kind, KINDS)
    from_words = kind == "masks" and not any(word.startswith("checkpoint=") for word in rest)
    own, overrides = _sorted(kind, rest, from_words)
    for folder in config_dirs:
        if not folder.is_dir():
            raise not_there("--config-dir", folder)
    asked = Asked(
        kind,
        own,
        overrides,
        config_dirs,
        [] if from_words else _checkpoints(kind, own),
        _out(own.get("out") or f"{kind}.png"),
        whole(own, "count") or (2 if kind == "masks" else 4),
        natural(own, "seed", 0),
    )
    _check(asked)
    return asked


def _check(asked: Asked) -> None:
    """Refuse values that cannot be before anything is opened."""
    for key, allowed in CHOICES.items():
        if asked.own.get(key, allowed[0]) not in allowed:
            raise unknown(key, asked.own[key], allowed)
    for key in WHOLE:
        whole(asked.own, key)
    for key in ("head", "token"):
        asked.numbers(key)
    asked.share("progress")
    if not re.fullmatch(r"-?\d{1,6}", asked.own.get("layer", "-1")):
        raise UserError(f"layer={asked.own['layer']}: must be a whole number, from 0 or from -1 backwards")


def _sorted(kind: str, words: Sequence[str], from_words: bool) -> tuple[dict[str, str], list[str]]:
    keys = (*SHARED, *KINDS[kind])
    if from_words:  # what is not a key of the picture is the configuration's, which says what is wrong with it
        keys = ("out", "count", "seed", "allow", *KINDS[kind])
        mine = [word for word in words if word.partition("=")[0] in keys]
        own, _ = sort(f"visualize {kind}", mine, keys)
        return own, [word for word in words if word not in mine]
    groups = {"energy": ("env",), "masks": ("data", "run", "masks")}.get(kind, ("data", "run"))
    return sort(f"visualize {kind}", words, keys, groups, needed=("checkpoint",))


def _checkpoints(kind: str, own: Mapping[str, str]) -> list[Path]:
    given = own["checkpoint"]
    parts = (
        [part.strip() for part in given[1:-1].split(",")] if given.startswith("[") and given.endswith("]") else [given]
    )
    if len(parts) > 1 and kind != "pca":
        raise UserError(f"checkpoint={given}: only pca shows several checkpoints; {kind} takes one")
    return [place({"checkpoint": part}) for part in parts]


def _out(given: str) -> Path:
    out = Path(given).expanduser()
    if out.suffix.lower() != ".png" or out.is_dir():
        raise UserError(f"out={given}: name a file that ends in .png")
    if not out.parent.exists():
        raise not_there("the folder for out,", out.parent)
    return out
