"""`worldjepa bench`: measure models on suites of tasks, and show what there is."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from worldjepa.cli.bench_report import COMPARE_HELP, REPORT_HELP
from worldjepa.errors import UserError, unknown

HELP = f"""
usage: worldjepa bench run suite=NAME checkpoint=PATH [seeds=3] [out=bench] [name=NAME] [tasks=A,B] [probes=A,B] [rows=A,B]
                           [root.FOLDER=PATH ...] [missing=refuse|skip] [run.KEY=VALUE] [--config-dir DIR ...]
       worldjepa bench list [suites | tasks | NAME] [--config-dir DIR ...]

`run` measures models on the tasks of a suite beside chance, raw input, the untrained encoder and a supervised ceiling. Each
result is a file out/NAME/TASK__PROBE__seedK.json as soon as it is known; the same command goes on where it was stopped, and
what is known already is not computed again. `list` shows suites and tasks.

  suite=NAME         embedded needs no data; image, video, audio and world are the field's tasks (`worldjepa bench list`);
                     efficiency measures every saved checkpoint of runs beside what their training had cost by then
  checkpoint=PATH    a run folder, a checkpoint or released weights, as for `worldjepa eval`; several as [A,B]
  name=NAME          what the model is called; by default as its run folder; several as [A,B]
  seeds=3            how many: of untrained encoders, of examples and starting points that probes draw
  out=bench          the folder of results
  tasks=, probes=    only these
  rows=              only these of trained, untrained, raw, chance, supervised
  root.FOLDER=PATH   where the data of a task lie; without it they are looked for in $WORLDJEPA_DATA/FOLDER
  missing=refuse     refuse before anything is computed if data of a task are missing; skip leaves such tasks out
  run.KEY=VALUE      run.accelerator, run.precision, run.threads; run.batch_size at a time
  arch=, heads=, which=, allow=   of released weights, as for `worldjepa eval`

{REPORT_HELP.strip()}

{COMPARE_HELP.strip()}
"""

VERBS = {
    "run": "worldjepa.cli.bench_run",
    "list": "worldjepa.cli.bench_list",
    "compare": "worldjepa.cli.bench_report",
    "report": "worldjepa.cli.bench_report",
}
WHOLE = ("compare", "report")
"""Verbs that share a module, which is told which of them it is."""


def run(words: Sequence[str]) -> int:
    """Do what the first word says.

    Returns:
        The exit code.

    Raises:
        UserError: there is no such word.
    """
    if not words:
        raise UserError(f"bench needs to know what to do: worldjepa bench {' | '.join(VERBS)}")
    verb, *rest = words
    if verb not in VERBS:
        raise unknown("verb of bench", verb, VERBS)
    module = importlib.import_module(VERBS[verb])
    code: int = module.run([*words] if verb in WHOLE else rest)
    return code
