"""The front door of the command: finds the verb, runs it, and turns users' mistakes into one line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence

from worldjepa.errors import UserError, suggest

# Written here and not in the verbs, so that `worldjepa --help` imports none of them.
VERBS = {
    "train": "train a model: worldjepa train [key=value ...]",
    "eval": "measure a trained model: worldjepa eval checkpoint=PATH [key=value ...]",
    "bench": "measure models on suites of tasks: worldjepa bench run suite=embedded checkpoint=PATH, bench list",
    "plan": "act with a trained world model: worldjepa plan checkpoint=PATH [tasks=any] [key=value ...]",
    "imagine": "show what a model imagines, and measure it: worldjepa imagine checkpoint=PATH out=FOLDER",
    "collect": "record episodes: worldjepa collect env=rooms episodes=100 out=FOLDER",
    "embed": "write representations of your data: worldjepa embed checkpoint=PATH data.root=FOLDER out=FOLDER",
    "visualize": "pictures of what a model sees and believes: worldjepa visualize masks|pca|attention|... checkpoint=PATH",
    "export": "write a model for transformers or timm: worldjepa export checkpoint=PATH format=hf out=FOLDER",
    "report": "show a run on one page, or several side by side: worldjepa report RUN [RUN ...]",
    "replay": "repeat a step that went wrong: worldjepa replay FOLDER",
    "list": "show the groups and options to choose from: worldjepa list [GROUP | keys]",
    "config": "print the configuration that `train` would use: worldjepa config [key=value ...]",
    "doctor": "check this installation and say what to mend: worldjepa doctor",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: the words after the program's name; by default those of this process.

    Returns:
        0 if all went well, 2 for a mistake in what was asked for (one line on stderr says what), 130 when interrupted
        from the keyboard, or the verb's own code.
    """
    words = sys.argv[1:] if argv is None else argv
    return guarded(lambda: _dispatch(words))


def guarded(work: Callable[[], int]) -> int:
    """Do some work and return its exit code, or that of the mistake that ended it, told in one line on stderr."""
    try:
        return work()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _dispatch(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    verb, rest = words[0], [*words[1:]]
    if verb in ("-V", "--version"):
        import worldjepa

        print(f"worldjepa {worldjepa.__version__}")
        return 0
    if verb not in VERBS:
        raise _no_verb(verb, rest)
    module = importlib.import_module(f"worldjepa.cli.{verb}")
    if "-h" in rest or "--help" in rest:
        print(module.HELP.strip())
        return 0
    code: int = module.run(rest)
    return code


def _no_verb(word: str, rest: Sequence[str]) -> UserError:
    if "=" in word or word.startswith("-"):
        return UserError(f"a verb comes first: worldjepa train {' '.join([word, *rest])}; verbs: {', '.join(VERBS)}")
    return UserError(f"verb '{word}' is not known{suggest(word, VERBS)}; verbs: {', '.join(VERBS)}")


def _usage() -> str:
    verbs = "\n".join(f"  {verb:<11}{what}" for verb, what in VERBS.items())
    return (
        "worldjepa: joint-embedding predictive world models\n\n"
        f"usage: worldjepa VERB [key=value ...]\n\n{verbs}\n\n"
        "`worldjepa VERB --help` says more about a verb; `worldjepa --version` prints the version."
    )
