"""`worldjepa doctor`: check the installation, and say in so many words what to do about what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from worldjepa.errors import UserError

HELP = """
usage: worldjepa doctor

Checks Python, PyTorch and the packages beside it, decoders, devices, disk space and the package's own files. Every line
says ok, warn or FAIL; what is wrong comes with the command that mends it. The exit code is 0 if nothing failed, else 1.
"""

_STYLES = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}


def run(words: Sequence[str]) -> int:
    """Examine this installation and print the findings.

    Returns:
        0 if nothing failed, 1 otherwise.

    Raises:
        UserError: words were given; this verb takes none.
    """
    if words:
        raise UserError(f"doctor takes no words, not '{words[0]}'")
    from rich.console import Console
    from rich.text import Text

    from worldjepa.cli.diagnosis import diagnose
    from worldjepa.cli.facts import gather

    findings = diagnose(gather())
    console = Console(highlight=False)
    for finding in findings:
        console.print(
            Text(f"{finding.level:<5}", style=_STYLES[finding.level]) + Text(f"{finding.what}: {finding.message}")
        )
        if finding.remedy:
            console.print(Text(f"      -> {finding.remedy}"), soft_wrap=True)
    failed = sum(finding.level == "FAIL" for finding in findings)
    console.print(f"{failed} of {len(findings)} checks failed" if failed else "nothing failed")
    return 1 if failed else 0
