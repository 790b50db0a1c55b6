"""Errors that are shown as a line, without a traceback: what was asked for cannot be, or the world does not allow it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what was asked for, worded for the person who asked."""

    exit_code = 2
    """What the command exits with."""


class Unreadable(UserError):
    """One observation cannot be read, for a reason that lies in its data: training goes on without it.

    The message names the file and the reason. Raised by `worldjepa.data.Observations.observe`.
    """


class Busy(UserError):
    """Another process is writing the run folder."""

    exit_code = 73


class Unsaved(UserError):
    """Something could not be written to disk; what was there before is untouched."""

    exit_code = 74


def suggest(name: str, allowed: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest allowed name, or an empty string if none is near."""
    near = difflib.get_close_matches(name, list(allowed), n=5, cutoff=0.5)
    # Letters in another order are the likeliest slip: vith41 means vith14, though vith16 shares as long a beginning.
    swapped = [option for option in near if sorted(option) == sorted(name)]
    return f" (did you mean '{(swapped or near)[0]}'?)" if near else ""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """The error for a name that is not one of `allowed`: names the thing, the value, the nearest name and what is allowed."""
    options = sorted(allowed)
    return UserError(f"{kind} '{name}' is not known{suggest(name, options)}; allowed: {', '.join(options) or 'none'}")
