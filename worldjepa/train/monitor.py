"""Measures the encoder during training, beside its baselines, and sounds the alarm."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from worldjepa.data import Observations
from worldjepa.errors import UserError
from worldjepa.evaluate.embed import batches, subset
from worldjepa.evaluate.judge import Judge, Scores, alarm, prediction, table
from worldjepa.interfaces import MaskSampler
from worldjepa.jepa import JEPA, per_view
from worldjepa.train import folder, logs
from worldjepa.train.settings import ProbeSettings
from worldjepa.train.signals import Abandoned, Stop
from worldjepa.train.stream import generator
from worldjepa.train.team import Team
from worldjepa.types import Grid


class Trial:
    """A fixed batch of observations and masks on which the predictor is held against predicting the mean.

    Raises:
        UserError: none of the observations can be read.
    """

    SAMPLES = 64

    def __init__(self, observations: Observations, sampler: MaskSampler, grid: Grid, seed: int) -> None:
        indices = subset(observations, self.SAMPLES)
        # Of views the plain one says nothing: they must differ.
        rng = partial(generator, seed, "trial") if observations.views > 1 else None
        batch = next(batches(observations, indices, len(indices), rng), None)
        if batch is None:
            raise UserError(
                f"none of {len(indices)} samples spread over the training data can be read, beginning with "
                f"{self._why(observations)}"
            )
        self.obs, self.cond = batch.obs, batch.cond
        self.masks = per_view(sampler, grid, len(batch.indices), observations.views, generator(seed, "trial"))

    @staticmethod
    def _why(observations: Observations) -> str:
        try:
            observations.observe(0)
        except UserError as error:
            return str(error)
        return observations.name(0)

    def run(self, model: JEPA, team: Team) -> Scores:
        """See `worldjepa.evaluate.judge.prediction`."""
        with team.fabric.autocast():
            return prediction(model, *team.fabric.to_device((self.obs, self.masks, self.cond)))


class Monitor:
    """Measures and tells. The first process works and the others wait; where weights are sharded, all work alike."""

    def __init__(
        self,
        judge: Judge,
        settings: ProbeSettings,
        model: JEPA,
        trial: Trial,
        out: Path,
        loggers: list[logs.Logger],
        screen: logs.Screen,
        events: logs.Events,
        team: Team,
        stop: Stop,
    ) -> None:
        self.judge = judge
        self.settings = settings
        self.model = model
        self.trial = trial
        self.out = out
        self.loggers = loggers
        self.screen = screen
        self.events = events
        self.team = team
        self.stop = stop
        self.baselines: dict[str, Scores] = {}
        self.latest: Scores = {}
        self.alarmed = False

    def begin(self, first: int) -> bool:
        """Measure the baselines before the first step, or read them back when going on; False if a signal broke it off."""
        return self._together(lambda: self._begin(first))

    def measure(self, done: int) -> bool:
        """Probes, rank and spread after `done` steps; False if a signal broke it off."""
        return self._together(lambda: self._measure(done))

    def _together(self, work: Callable[[], None]) -> bool:
        if self.team.sharded:
            work()  # every process takes part in gathering the weights, so nobody may break it off
            return True

        def watched() -> tuple[bool, bool]:
            try:
                with self.stop.interruptible():
                    work()
            except Abandoned:
                return False, False
            return True, self.alarmed

        finished, self.alarmed = self.team.lead(watched)
        return finished

    def _begin(self, first: int) -> None:
        file = self.out / "baselines.json"
        if first:
            self.baselines = json.loads(file.read_text()) if file.exists() else {}
            return
        self.baselines = {"chance": self.judge.chance(), "raw input": self.judge.raw_input()}
        self._measure(0)
        self.baselines["untrained encoder"] = self.latest
        if self.team.leads:
            folder.write_json(file, self.baselines)
        missing = {name: count for name, count in self.judge.unread.items() if count}
        if missing:
            told = ", ".join(f"{count} of {name}" for name, count in missing.items())
            self.screen.say(f"labelled samples that cannot be read are left out of the probes: {told}")

    def _measure(self, done: int) -> None:
        encoder = self.model.target.released(self.model.encoder)
        self.latest = {**self.judge.encoder(encoder), **self.trial.run(self.model, self.team)}
        logs.write_all(self.loggers, done, self.latest)
        told = "  ".join(f"{name.split('/', 1)[1]} {value:.3g}" for name, value in self.latest.items())
        self.screen.say(f"evaluation after step {done}: {told}")
        self._watch(done)

    def _watch(self, done: int) -> None:
        untrained = self.baselines.get("untrained encoder")
        if untrained is None or self.settings.on_alarm == "ignore":
            return
        advice = alarm(self.latest, untrained)
        if advice is not None:
            self.events.tell(done, "collapse", advice)
        self.alarmed = advice is not None

    def conclude(self, steps: int, seconds: float) -> None:
        """Show and keep the final table."""
        if not self.team.leads:
            return
        rows = {**self.baselines, f"trained encoder ({steps} steps)": self.latest}
        self.screen.say(table({name: scores for name, scores in rows.items() if scores}))
        folder.write_json(
            self.out / "report.json",
            {"steps": steps, "trained_seconds": seconds, "baselines": self.baselines, "trained": self.latest},
        )
        self.screen.say(f"trained for {seconds:.0f} s; everything is in {self.out}")
