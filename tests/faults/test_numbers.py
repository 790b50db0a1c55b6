"""F11, F12: numbers that go wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from train.toy import differing, rows, tensors

from faults.harness import command, events, same, start, steps, words
from worldjepa.cli import main
from worldjepa.train.exits import COLLAPSED, NOT_FINITE
from worldjepa.train.guard import Guard

Record = Callable[..., None]


def poison(where: str, wrong: float, at: Callable[[int], bool], rank: int | None = None) -> None:
    """Put a number that is none into loss, gradient, input or target of the steps that `at` says."""
    from worldjepa.jepa import JEPA
    from worldjepa.train import run
    from worldjepa.types import Batch

    state = {"step": 0, "on": False}
    step, forward = run.Loop._step, JEPA.forward

    def watched(self: run.Loop, feed: object) -> int | None:
        state["step"] = self.done
        state["on"] = at(self.done) and rank in (None, self.team.rank)
        return step(self, feed)  # type: ignore[arg-type]

    def poisoned(self: JEPA, batch: Batch) -> dict[str, torch.Tensor]:
        if not state["on"]:
            return forward(self, batch)
        if where == "input":
            batch = batch._replace(obs=batch.obs.float() * wrong)  # type: ignore[union-attr]
        if where == "target":
            target = self.target.forward
            self.target.forward = lambda *a: [t._replace(x=t.x * wrong) for t in target(*a)]  # type: ignore[method-assign]
            try:
                return forward(self, batch)
            finally:
                self.target.forward = target  # type: ignore[method-assign]
        terms = forward(self, batch)
        if where == "loss":
            return {name: value * wrong for name, value in terms.items()}
        if where == "gradient":
            return {name: Poison.apply(value, wrong) for name, value in terms.items()}
        return terms

    run.Loop._step = watched  # type: ignore[method-assign,assignment]
    JEPA.forward = poisoned  # type: ignore[method-assign]


class Poison(torch.autograd.Function):
    """Leaves a value alone and spoils its gradient."""

    @staticmethod
    def forward(ctx: object, value: torch.Tensor, wrong: float) -> torch.Tensor:
        ctx.wrong = wrong  # type: ignore[attr-defined]
        return value.clone()

    @staticmethod
    def backward(ctx: object, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grads[0] * ctx.wrong, None  # type: ignore[attr-defined]


@pytest.mark.parametrize("where", ["loss", "gradient", "input", "target"])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_bad_step_changes_nothing(where: str, wrong: float, tmp_path: Path, record: Record) -> None:
    """The checkpoints before and after the bad step are the same, but for the step itself."""
    out = tmp_path / "run"
    child = start(
        out,
        "run.save_every=1",
        "run.keep=9",
        "run.steps=6",
        before=lambda: poison(where, wrong, lambda step: step == 3),
    )
    assert child.wait() == 0, child.said
    # A checkpoint that is due after a skipped step waits for the next one that is taken.
    names = sorted(path.name for path in (out / "checkpoints").iterdir())
    assert names == [f"step-{step:08d}" for step in (1, 2, 3, 5, 6)]
    assert [row["train/skipped"] for row in rows(out) if "train/loss" in row] == [0, 0, 0, 1, 1, 1]
    assert [event["step"] for event in events(out, "skipped")] == [3]
    before, after = tensors(out, names[2]), tensors(out, names[3])
    moved = [name for name in before if name.endswith("/step")]
    assert all(after[name] == before[name] + 1 for name in moved), "step 4 alone was taken"
    record("F11", f"{wrong} in the {where}: the step is skipped", 1)


def test_a_skipped_step_leaves_every_bit(tmp_path: Path) -> None:
    """Weights, target and moments are untouched: a run that skips its third step equals one that never takes it."""
    from worldjepa.train import run

    out = tmp_path / "skipped"
    child = start(
        out,
        "run.steps=5",
        "run.save_every=1",
        "run.keep=9",
        before=lambda: poison("loss", math.nan, lambda step: step == 2),
    )
    assert child.wait() == 0, child.said

    def leave_out() -> None:
        take = run.Loop._take

        def without(self: run.Loop, *args: object) -> None:
            if self.done != 2:
                take(self, *args)  # type: ignore[arg-type]

        run.Loop._take = without  # type: ignore[method-assign,assignment]

    other = tmp_path / "left out"
    child = start(other, "run.steps=5", "run.save_every=1", "run.keep=9", before=leave_out)
    assert child.wait() == 0, child.said
    last = "step-00000005"
    assert differing(tensors(out, last), tensors(other, last)) == []
    assert differing(tensors(other, "step-00000003"), tensors(other, "step-00000002")) == []


def test_for_ever_it_goes_back_once_then_leaves_with_what_shows_why(
    tmp_path: Path, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    child = start(out, "run.max_bad_steps=3", before=lambda: poison("input", math.inf, lambda step: step >= 9))
    assert child.wait() == NOT_FINITE, child.said
    assert [event["step"] for event in events(out, "skipped")] == [9, 10, 11, 9, 10, 11]
    (back,) = events(out, "rolled back")
    assert "going back to step 8, once" in back["what"]
    assert [row["step"] for row in rows(out) if "train/loss" in row] == list(range(1, 12))
    kept = out / "replay" / "step-00000011"
    assert f"worldjepa replay {kept}" in child.said
    assert main(["replay", str(kept)]) == 1  # the input was spoilt by the test, not by the data
    told = capsys.readouterr().out
    assert "nan in the run (differs)" in told
    assert "first module whose output is not finite: none" in told
    record("F11", "for ever: rolled back once, then exit 76 with a replay", 1)


def test_a_replay_repeats_the_step_bit_for_bit(
    tmp_path: Path, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights that overflow: nothing outside of the dump is needed to see it again."""
    out = tmp_path / "run"
    child = start(out, "optim.lr=1e30", "optim.start_lr=1e30", "run.max_bad_steps=2")
    assert child.wait() == NOT_FINITE, child.said
    capsys.readouterr()
    assert main(["replay", str(out / "replay" / "step-00000002")]) == 0
    told = capsys.readouterr().out
    assert "smooth_l1: nan now, nan in the run\n" in told
    assert "first module whose output is not finite: target.encoder" in told or "encoder" in told
    record("F11", "the replay of a bad step gives the same bits and names the module", 1)


def test_what_heals_after_going_back_ends_as_if_nothing_had_been(
    reference: Path, tmp_path: Path, record: Record
) -> None:
    """A fault of the machine: it shows until the run goes back, and never again."""

    def once() -> None:
        calls: list[int] = []
        poison("gradient", math.nan, lambda step: step in (9, 10) and calls.append(step) is None and len(calls) <= 2)

    out = tmp_path / "run"
    child = start(out, "run.max_bad_steps=2", before=once)
    assert child.wait() == 0, child.said
    assert len(events(out, "rolled back")) == 1
    same(out, reference)
    record("F11", "a fault that does not come back: bitwise after going back", 1)


def test_two_processes_skip_together(tmp_path: Path, record: Record) -> None:
    """One of them has a loss that is no number."""
    script = tmp_path / "spoilt.py"
    script.write_text(
        "import math, sys\n"
        "from faults.test_numbers import poison\n"
        "from worldjepa.cli import main\n"
        "if __name__ == '__main__':\n"
        "    poison('loss', math.nan, lambda step: step == 3, rank=1)\n"
        "    sys.exit(main())\n"
    )
    out = tmp_path / "run"
    line = [
        str(script),
        *words(out),
        "run.devices=2",
        "run.batch_size=4",
        "run.steps=6",
        "run.save_every=1",
        "run.keep=9",
    ]
    tests = Path(__file__).resolve().parents[1]
    with command(*line, cwd=tmp_path, PYTHONPATH=f"{tests}:{tests.parent}") as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert [event["step"] for event in events(out, "skipped")] == [3]
    assert rows(out)[-1]["train/skipped"] == 1 if "train/skipped" in rows(out)[-1] else True
    assert [step for step, _ in steps(out)] == [1, 2, 3, 4, 5, 6]
    assert all(value[1] is None or math.isfinite(value[1]) for value in steps(out))
    record("F11", "in one of two processes: both skip", 1)


# --- spikes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["flag", "clip", "skip"])
def test_a_spike_is_seen_at_once(policy: str, tmp_path: Path, record: Record) -> None:
    out = tmp_path / "run"
    child = start(out, f"run.on_spike={policy}", before=lambda: poison("gradient", 1e3, lambda step: step == 20))
    assert child.wait() == 0, child.said
    (spike,) = events(out, "spike")
    assert spike["step"] == 20
    assert {"flag": "taken as it is", "clip": "clipped to that", "skip": "skipped"}[policy] in spike["what"]
    row = next(row for row in rows(out) if row["step"] == 21)
    assert row["train/spikes"] == 1
    assert row["train/skipped"] == (1 if policy == "skip" else 0)
    record("F12", f"a gradient 1,000 times too large, policy {policy}", 1)


def test_clipping_a_spike_bounds_it() -> None:
    guard = Guard(10, 20.0, "clip")
    for _ in range(20):
        assert guard.judge(1.0, finite=True) == (True, None, None)
    assert guard.judge(1000.0, finite=True) == (True, 1.0, 1.0)


def test_healthy_norms_raise_no_alarm(record: Record) -> None:
    """Norms that wander by a factor of ten and scatter by a factor of two around that."""
    chance, alarms, count = random.Random(5), 0, 20_000
    guard = Guard(10, 20.0, "flag")
    for step in range(count):
        norm = math.exp(1.2 * math.sin(step / 500) + chance.gauss(0, 0.7))
        alarms += guard.judge(norm, finite=True).spike is not None
    assert alarms <= count // 10_000
    record("F12", f"{alarms} false alarms in {count:,} drawn norms", count)


def test_a_new_level_is_not_a_spike_for_long() -> None:
    guard = Guard(10, 20.0, "skip")
    norms = [1.0] * 64 + [100.0] * 64
    taken = [guard.judge(norm, finite=True).take for norm in norms]
    assert all(taken[:64])
    assert not any(taken[64:96])
    assert all(taken[97:])


# --- collapse --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["stop", "warn", "ignore"])
def test_a_collapse_stops_the_run_if_asked_to(policy: str, tmp_path: Path, record: Record) -> None:
    """F13: what the alarm says is tested elsewhere; here it sounds at the second evaluation."""

    def flatten() -> None:
        from worldjepa.evaluate.judge import Judge

        measure, calls = Judge.encoder, list[int]()

        def collapsed(self: Judge, encoder: object) -> dict[str, float]:
            calls.append(1)
            scores = measure(self, encoder)  # type: ignore[arg-type]
            return {**scores, "collapse/rankme": 1.0} if len(calls) > 2 else scores

        Judge.encoder = collapsed  # type: ignore[method-assign,assignment]

    out = tmp_path / "run"
    child = start(out, "run.eval_every=8", f"probe.on_alarm={policy}", before=flatten)
    code = child.wait()
    if policy == "stop":
        assert code == COLLAPSED == 77, child.said
        assert [step for step, _ in steps(out)] == list(range(1, 17))
        assert (out / "checkpoints" / "step-00000016" / "MANIFEST.json").exists()
    else:
        assert code == 0, child.said
    assert ("RankMe" in child.said) == (policy != "ignore")
    record("F13", f"a collapse with probe.on_alarm={policy}", 1)
