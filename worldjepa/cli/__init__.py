"""The command `worldjepa`: one verb a file, and what the verbs share.

Modules here are called `list` and `eval`: importing them rebinds those names here, so only this import is here.
"""

from worldjepa.cli.dispatch import main

__all__ = ["main"]
