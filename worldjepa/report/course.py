"""How a run went: whether it came to its end, what happened on the way, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from worldjepa.report.folder import Event, Run
from worldjepa.report.page import Fold, Part
from worldjepa.report.table import Column, Strong, Table, Words
from worldjepa.report.text import cut, short

State = Literal["finished", "running", "interrupted", "failed", "killed"]

GO_ON = "go on with the same command and run.resume=auto"

ADVICE = {
    "collapse": "Lower optim.lr, warm up longer, start target.start closer to 1, hide larger blocks, or add a variance term "
    "(method=ijepa_vicreg). probe.on_alarm=stop ends such a run at once.",
    "collapsed": "As for the alarm; the checkpoint shows the state that sounded it.",
    "skipped": "A few are harmless, with run.precision=16-mixed also usual. Many: lower optim.lr, set run.clip_norm, or use "
    "run.precision=32-true.",
    "spike": "If the loss jumps with them: run.on_spike=clip, or run.clip_norm.",
    "rolled back": "It happens once only. Lower optim.lr or set run.clip_norm before it happens again.",
    "not finite": "Repeat the step with worldjepa replay to see which part of the model it begins in; lower optim.lr, set "
    "run.clip_norm, or use run.precision=32-true.",
    "stopped": f"{GO_ON[0].upper()}{GO_ON[1:]}.",
    "requeue": "The scheduler starts it again; nothing to do.",
    "resumed": "Nothing to do: the same samples and masks follow.",
    "failed": f"Mend what is said, then {GO_ON}.",
    "memory": "The same batch is worked through in smaller pieces; a lower run.batch_size with a higher run.accumulate makes "
    "the same global batch without the first failure.",
    "data": "Look at the samples that are named; run.data_timeout says after how long one counts as hanging.",
}
"""For each kind of event what to do about it."""

ENDINGS: dict[str, State] = {
    "stopped": "interrupted",
    "requeue": "interrupted",
    "not finite": "failed",
    "collapsed": "failed",
    "failed": "failed",
}
"""Events with which a run ends."""

_SHOWN = 50


class Course(NamedTuple):
    """How far a run came.

    Args:
        state: how it stands.
        step: steps taken, as far as they were logged.
        steps: of the whole run; None if the folder does not say.
        seconds: of training, as far as they were logged; None if the log does not say.
        said: all this in a sentence.
    """

    state: State
    step: int
    steps: int | None
    seconds: float | None
    said: str


def course(run: Run, running: bool) -> Course:
    """How a run went.

    Args:
        run: its folder.
        running: whether a process is writing there.
    """
    step, steps, seconds = _steps(run), length(run), spent(run)
    last = next((event for event in reversed(run.events) if event.kind in (*ENDINGS, "resumed")), None)
    state: State = "killed"
    if running:
        state = "running"
    elif run.finished:
        state = "finished"
    elif last is not None and last.kind in ENDINGS and last.step >= run.log.step:
        state = ENDINGS[last.kind]
    why = f": {cut(last.what, 400).rstrip('.')}" if last is not None and last.what else ""
    took = f" in {duration(seconds)} of training" if seconds else ""
    of = f" of {steps:,}" if steps else ""
    said = {
        "finished": f"Finished after {step:,} steps{took}.",
        "running": f"Running: step {step:,}{of} when this page was made.",
        "interrupted": f"Interrupted at step {step:,}{of}{why}.",
        "failed": f"Failed at step {step:,}{of}{why}.",
        "killed": f"Ended without a word, last heard of at step {step:,}{of}: killed, or the machine went down; {GO_ON}.",
    }[state]
    return Course(state, step, steps, seconds, said)


def _steps(run: Run) -> int:
    """Steps taken, by whatever tells of the most."""
    finished = int(run.result["steps"]) if run.result is not None and run.finished else 0
    ended = [event.step for event in run.events if event.kind in ENDINGS]
    return max(run.log.step, finished, ended[-1] if ended else 0)


def length(run: Run) -> int | None:
    """The steps of the whole run: as configured, or by the epochs that the log tells of."""
    steps, epochs = run.config.get("run.steps"), run.config.get("run.epochs")
    if isinstance(steps, int) and steps > 0:
        return steps
    logged = run.log.curves.get("train/epoch")
    found = logged.finite[-1:] if logged else []
    if isinstance(epochs, int | float) and found and found[0][1] > 0:
        return round(float(epochs) * found[0][0] / found[0][1])
    return None


def spent(run: Run) -> float | None:
    """Seconds of training."""
    told = run.result["trained_seconds"] if run.result is not None and run.finished else None
    if isinstance(told, int | float) and not any(event.kind == "resumed" for event in run.events):
        return float(told)  # of one start only
    logged = run.log.curves.get("time/step")
    if logged is None:
        return None
    before = [0, *logged.steps]
    return sum(
        value * (step - start)
        for step, start, value in zip(logged.steps, before, logged.values, strict=False)
        if value == value
    )


def duration(seconds: float) -> str:
    """A time for a person."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def happenings(run: Run) -> list[Part]:
    """What happened besides steps, and what to do about it; nothing if nothing did."""
    parts: list[Part] = []
    kinds = dict.fromkeys(event.kind for event in run.events)
    if kinds:
        columns = (
            Column("what", False),
            Column("times"),
            Column("steps"),
            Column("last", False),
            Column("to do", False),
        )
        parts.append(Table("Events", columns, [_row(kind, run.events) for kind in list(kinds)[:_SHOWN]]))
    if len(run.events) > len(kinds):
        parts.append(_all_events(run.events))
    if run.bad:
        parts += _bad(run)
    return parts


def _row(kind: str, events: Sequence[Event]) -> tuple[str | Strong, ...]:
    found = [event for event in events if event.kind == kind]
    first, last = found[0], found[-1]
    at = f"{first.step:,}" if first.step == last.step else f"{first.step:,} to {last.step:,}"
    name = Strong(cut(kind)) if kind in ENDINGS or kind == "collapse" else cut(kind)
    return name, f"{len(found):,}", at, cut(last.what, 400), ADVICE.get(kind, "–")


def _all_events(events: Sequence[Event]) -> Fold:
    shown = events[-_SHOWN:]
    title = f"The last {_SHOWN} of {len(events):,} events" if len(events) > _SHOWN else "All events"
    columns = (Column("step"), Column("time", False), Column("what", False), Column("words", False))
    rows = [(short(event.step), cut(event.time), cut(event.kind), cut(event.what, 400)) for event in shown]
    return Fold(title, [Table(title, columns, rows)])


def _bad(run: Run) -> list[Part]:
    count = len(run.bad)
    shown = run.bad[:_SHOWN]
    title = f"The first {_SHOWN} of {count:,} samples" if count > _SHOWN else "Samples left out"
    rows = [(cut(one.name, 200), cut(one.kind), cut(one.reason, 400)) for one in shown]
    columns = (Column("sample", False), Column("how", False), Column("why", False))
    told = (
        f"{count:,} sample{' was' if count == 1 else 's were'} not used and replaced by others (quarantine.jsonl). Repair or "
        "remove them; data.max_bad_fraction says how many may be bad."
    )
    return [Words(told, warning=True), Fold(title, [Table(title, columns, rows)])]
