"""`worldjepa bench report` and `worldjepa bench compare`: what results say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldjepa.cli.own import not_understood
from worldjepa.cli.paths import not_there
from worldjepa.errors import UserError, unknown

if TYPE_CHECKING:
    from worldjepa.bench.record import Record

REPORT_HELP = """
usage: worldjepa bench report FOLDER|FILE ... [format=md|csv|html|all] [out=PLACE] [into=FILE.md] [name=NAME]

Says what results of `worldjepa bench run` say together: for each task and probe the mean over seeds with its interval,
from chance over raw input and the untrained encoder to the models; over tasks normalised scores, mean ranks and points;
what is missing.

  format=md          Markdown (the default), csv with one line a result, one html page, or all of them
  out=PLACE          the file to write, or for format=all the folder; md and csv are printed without it
  into=FILE.md       write the Markdown between the lines <!-- bench:NAME --> and <!-- /bench:NAME --> of a file
  name=NAME          the name there; by default that of the suite
"""
COMPARE_HELP = """
usage: worldjepa bench compare A B [within=FOLDER] [out=FILE.md|FILE.html]

Says whether model A is better than model B, by test examples that both were asked. A and B are folders with the results
of one model, or FOLDER/NAME; with within=FOLDER, names of models in it, or of other rows of its report, such as untrained.
"""
FORMATS = ("md", "csv", "html", "all")
_REPORT = ("format", "out", "into", "name")
_COMPARE = ("within", "out")


def run(words: Sequence[str]) -> int:
    """Report or compare.

    Args:
        words: `report` or `compare`, and what follows it.

    Returns:
        The exit code.

    Raises:
        UserError: a word is not understood, results are not there or damaged, or nothing can be compared.
        Unsaved: a file could not be written.
    """
    verbs: dict[str, Callable[[Sequence[str]], int]] = {"report": _report, "compare": _compare}
    verb, rest = words[0], words[1:]
    if verb not in verbs:
        raise unknown("verb of bench", verb, verbs)
    return verbs[verb](rest)


def _report(words: Sequence[str]) -> int:
    own, places = _sort("report", words, _REPORT)
    if not places:
        raise UserError("bench report needs results: worldjepa bench report FOLDER")
    paths = [Path(place).expanduser() for place in places]
    for path in paths:
        if not path.exists():
            raise not_there("the results", path)
    kind = _format(own)
    from worldjepa.bench.sides import gather

    records = gather(paths)
    suites = sorted({record.suite for record in records})
    title = f"Benchmark {', '.join(suites)}"
    if "into" in own:
        _into(Path(own["into"]).expanduser(), own.get("name") or _one(suites), records, title)
    elif "name" in own:
        raise UserError(f"name={own['name']} is the name of a section: say which file's with into=FILE.md")
    if "into" not in own or "out" in own or "format" in own:
        _deliver(kind, own.get("out"), _writers(records, title))
    return 0


def _compare(words: Sequence[str]) -> int:
    own, sides = _sort("compare", words, _COMPARE)
    if len(sides) != 2:
        raise UserError(f"bench compare takes two models, not {len(sides)}: worldjepa bench compare A B")
    if sides[0] == sides[1]:
        raise UserError(f"bench compare takes two models, not '{sides[0]}' twice")
    within = Path(own["within"]).expanduser() if own.get("within") else None
    if within is not None and not within.is_dir():
        raise not_there("the folder within=", within)
    out = Path(own["out"]).expanduser() if own.get("out") else None
    if out is not None and out.suffix not in (".md", ".html"):
        raise UserError(f"out={out}: a comparison is written as FILE.md or FILE.html")
    from worldjepa.bench.compare import compare
    from worldjepa.bench.sides import side
    from worldjepa.bench.verdict import comparison
    from worldjepa.report.files import write
    from worldjepa.report.markdown import markdown

    first, second = (side(word, within) for word in sides)
    names = (first.name, second.name) if first.name != second.name else (sides[0], sides[1])
    page = comparison(compare(names, first.records, second.records))
    if out is None:
        print(markdown(page), end="")
    else:
        write(out, page.html() if out.suffix == ".html" else markdown(page))
        print(f"wrote {out}")
    return 0


def _sort(verb: str, words: Sequence[str], keys: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Split words into a verb's keys and the rest, which names results; a path may have a = in it."""
    own: dict[str, str] = {}
    places: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key in keys:
            own[key] = value
        elif word.startswith("-") or (equals and not Path(word).expanduser().exists()):
            raise not_understood(f"bench {verb}", word, keys)
        else:
            places.append(word)
    return own, places


def _format(own: dict[str, str]) -> str:
    """The format that was asked for, or that the name of the file says."""
    out = own.get("out", "")
    said = own.get("format")
    if said is None:
        suffix = Path(out).suffix.lstrip(".")
        return suffix if suffix in FORMATS else "md"
    if said not in FORMATS:
        raise unknown("format", said, FORMATS)
    if said in ("html", "all") and not out:
        raise UserError(f"format={said} needs a place: out={'report.html' if said == 'html' else 'FOLDER'}")
    return said


def _writers(records: list[Record], title: str) -> dict[str, Callable[[], str]]:
    """What makes the text of each format."""
    from worldjepa.bench.page import report
    from worldjepa.bench.tables import csv_text
    from worldjepa.report.markdown import markdown

    page = report(records, title)
    return {"md": lambda: markdown(page), "csv": lambda: csv_text(records), "html": page.html}


def _deliver(kind: str, out: str | None, writers: dict[str, Callable[[], str]]) -> None:
    from worldjepa.report.files import write

    if not out:
        print(writers[kind](), end="")
        return
    place = Path(out).expanduser()
    if place.is_file() if kind == "all" else place.is_dir():
        raise UserError(f"out={out} must be {'a folder' if kind == 'all' else 'a file'} for format={kind}")
    files = {one: place / f"bench.{one}" for one in writers} if kind == "all" else {kind: place}
    for one, file in files.items():
        write(file, writers[one]())
        print(f"wrote {file}")


def _into(file: Path, name: str, records: list[Record], title: str) -> None:
    from worldjepa.bench.page import report
    from worldjepa.report.files import replaced, write
    from worldjepa.report.markdown import markdown

    text = markdown(report(records, title), level=2, titled=False)
    write(file, replaced(file, "bench", name, text))
    print(f"wrote the section {name} of {file}")


def _one(suites: Sequence[str]) -> str:
    if len(suites) != 1:
        raise UserError(f"the results are of several suites ({', '.join(suites)}): say which section with name=NAME")
    return suites[0]
