"""`worldjepa bench list`: the suites and the tasks that there are."""

from __future__ import annotations

from collections.abc import Sequence

from worldjepa.cli.arguments import parse
from worldjepa.errors import UserError, unknown


def run(words: Sequence[str]) -> int:
    """Print suites and tasks, or all about one of them.

    Returns:
        The exit code.

    Raises:
        UserError: there is no suite or task of that name.
    """
    arguments = parse(words)
    if len(arguments.words) > 1:
        raise UserError(f"list takes one name at most, not {len(arguments.words)}: worldjepa bench list [NAME]")
    from worldjepa.bench.summary import about_suite, about_task, suite_table, task_table
    from worldjepa.cli.bench_options import read_suites, read_tasks
    from worldjepa.train.logs import screen_console

    tasks, suites = read_tasks(arguments.config_dirs), read_suites(arguments.config_dirs)
    console = screen_console()
    name = arguments.words[0] if arguments.words else None
    if name in (None, "suites"):
        console.print(suite_table(suites))
    if name in (None, "tasks"):
        console.print(task_table(tasks))
    elif name in suites:
        console.print(about_suite(suites[name], tasks), markup=False, highlight=False)
    elif name in tasks:
        console.print(about_task(tasks[name]), markup=False, highlight=False)
    elif name != "suites":
        raise unknown("suite or task", str(name), [*suites, *tasks, "suites", "tasks"])
    return 0
