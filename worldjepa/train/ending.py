"""The last words of a run: why it ended, and the page that shows all of it."""

from __future__ import annotations

from pathlib import Path

from worldjepa.errors import UserError
from worldjepa.train.logs import Events, Screen

_MOST = 500
"""Letters of an error that are kept."""


def note(events: Events, step: int, error: Exception) -> None:
    """Write down why a run failed; the error itself goes on its way to the user."""
    try:
        events.note(step, "failed", said(error))
    except OSError as unsaved:  # such as a full disk, which may be what the error is about
        events.screen.say(f"warning: {events.file} could not be written: {unsaved.strerror or unsaved}")


def show(out: Path, screen: Screen) -> None:
    """Write the page of the run in `out`, and say where it is, or why there is none."""
    try:
        from worldjepa.report.run import write_report

        file = write_report(out)
    except Exception as error:  # noqa: BLE001  the run is over and whole: nothing here may change what came of it
        screen.say(
            f"warning: the report could not be written: {said(error)} (worldjepa report {out} writes it when that is mended)"
        )
    else:
        screen.say(f"report: {file}")


def said(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())[:_MOST]
    return text if isinstance(error, UserError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
