"""What is shown of texts that others wrote, and of numbers."""

from __future__ import annotations

import math
import unicodedata


def clean(text: str) -> str:
    """A text without what a page may not hold or would not show.

    Control characters, halves of surrogate pairs and code points that are no characters become U+FFFD; signs that turn the
    direction of the text, and those that take no room, are written out as `\\u202e` is here.
    """
    if text.isascii() and text.isprintable():  # most are
        return text
    return "".join(_shown(sign) for sign in text)


def _shown(sign: str) -> str:
    if sign in "\n\t":
        return sign
    if unicodedata.category(sign) == "Cf":
        return f"\\u{ord(sign):04x}"
    return "\ufffd" if unicodedata.category(sign) in ("Cc", "Cs") or _no_character(ord(sign)) else sign


def _no_character(point: int) -> bool:
    return point & 0xFFFE == 0xFFFE or 0xFDD0 <= point <= 0xFDEF


def short(value: float, digits: int = 4) -> str:
    """A number for a person: thousands with commas, others to a few digits; a dash for what is not finite."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 1e15 or 0 < abs(value) < 1e-4:
        return f"{value:.{digits - 1}g}"
    whole = float(value).is_integer() or abs(value) >= 10 ** (digits - 1)
    return f"{value:,.0f}" if whole else f"{value:.{digits}g}"


def cut(text: str, letters: int = 80) -> str:
    """A text of at most so many letters."""
    return text if len(text) <= letters else text[: letters - 1] + "…"


def shown(value: object, letters: int = 200) -> str:
    """A value of a configuration for a person."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        text = ", ".join(shown(one, letters) for one in value) if isinstance(value, list) else str(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        text = "a number of very many digits"
    return cut(text, letters)


def said(count: int, word: str) -> str:
    """A number with its noun: `1 step`, `2 steps`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def capital(text: str) -> str:
    """A text that begins as a sentence does; kNN stays as it is."""
    return f"{text[:1].upper()}{text[1:]}" if text[1:2].islower() else text


def points(difference: float) -> str:
    """A difference of shares in words: `3.1 points more`, `3.1 points less`."""
    return f"{abs(100 * difference):.1f} points {'less' if difference < 0 else 'more'}"
