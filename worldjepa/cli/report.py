"""`worldjepa report`: the page of a run, or of several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from worldjepa.cli.own import not_understood
from worldjepa.cli.paths import not_there
from worldjepa.errors import UserError

HELP = """
usage: worldjepa report RUN [RUN ...] [out=FILE.html]

Writes a run on one page: how it went, its numbers beside their baselines, curves, pictures, alarms and what to do about them,
configuration and environment. RUN is a run folder of `worldjepa train`, which ends with this page by itself; here it is made
of runs that go on, that were killed, or that had run.report=false. Several runs stand side by side: their curves in the same
charts, their last numbers, and the keys in which their configurations differ.

  out=FILE.html      the file to write; by default RUN/report.html, and for several runs report.html in this folder
"""
_OWN = ("out",)


def run(words: Sequence[str]) -> int:
    """Write the report.

    Returns:
        The exit code.

    Raises:
        UserError: a word is not understood, a run is not there or is none, or the file cannot be meant.
        Unsaved: the file could not be written.
    """
    own, folders = _sort(words)
    _check(folders)
    out = _out(own, folders)
    from worldjepa.report.files import write
    from worldjepa.report.run import report
    from worldjepa.train.lock import held

    write(out, report(folders, [folder for folder in folders if held(folder)]).html())
    print(f"wrote {out}")
    return 0


def _sort(words: Sequence[str]) -> tuple[dict[str, str], list[Path]]:
    """Split words into keys and run folders; a path may have a = in it."""
    own: dict[str, str] = {}
    folders: list[Path] = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in _OWN:
            own[key] = value
        elif word.startswith("-") or (equals and not Path(word).expanduser().exists()):
            raise not_understood("report", word, _OWN)
        else:
            folders.append(Path(word).expanduser())
    return own, folders


def _check(folders: Sequence[Path]) -> None:
    """Make sure that these are run folders, each named once, and that one chart can show them.

    Raises:
        UserError: says what is not so.
    """
    from worldjepa.report.palette import SERIES

    if not folders:
        raise UserError("report needs a run: worldjepa report RUN")
    for folder in folders:
        _check_run(folder)
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("report was given the same run twice")
    if len(folders) > SERIES:
        raise UserError(f"report shows at most {SERIES} runs side by side, not {len(folders)}")


def _check_run(folder: Path) -> None:
    from worldjepa.report.folder import SIGNS, is_run

    if not folder.exists():
        raise not_there("run", folder)
    if not folder.is_dir():
        raise UserError(f"run '{folder}' is a file: name the folder of a run")
    if not is_run(folder):
        near = next(_runs_near(folder), None)
        hint = f" (did you mean '{near}'?)" if near else ""
        raise UserError(f"'{folder}' is not a run folder: it holds none of {', '.join(SIGNS)}{hint}")


def _runs_near(folder: Path) -> Iterator[Path]:
    """Runs above a folder, such as that of a checkpoint, and below it, such as those of a day."""
    from worldjepa.report.folder import is_run

    yield from (above for above in (folder.parent, folder.parent.parent) if is_run(above))
    yield from (below for pattern in ("*", "*/*") for below in sorted(folder.glob(pattern)) if is_run(below))


def _out(own: dict[str, str], folders: Sequence[Path]) -> Path:
    """The file to write.

    Raises:
        UserError: it is a folder, or has another format's name.
    """
    from worldjepa.report.run import NAME

    given = own.get("out")
    out = Path(given).expanduser() if given else (folders[0] if len(folders) == 1 else Path()) / NAME
    if out.is_dir():
        raise UserError(f"out={out} is a folder: name a file, such as out={out / NAME}")
    if out.suffix != ".html":
        raise UserError(f"out={out}: a report is written as FILE.html")
    return out
