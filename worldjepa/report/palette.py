"""The colours of a page, light and dark.

Text stands off its ground by 4.5 to 1 or more. The colours of series do so too, and are told apart with red, green or
blue blindness; a series also has its own dashes, since a print may be grey.
"""

from __future__ import annotations

LIGHT = {
    "ground": "#ffffff",
    "raised": "#f4f5f7",
    "text": "#1b1d22",
    "quiet": "#565b66",
    "rule": "#d5d8de",
    "link": "#0a5a9c",
    "series0": "#2440e0",
    "series1": "#ac6600",
    "series2": "#1a825e",
    "series3": "#7a1fa0",
    "series4": "#593400",
    "series5": "#0a123c",
}
DARK = {
    "ground": "#14161a",
    "raised": "#1d2026",
    "text": "#e7e9ee",
    "quiet": "#a7adba",
    "rule": "#3a3f4a",
    "link": "#7cc1ff",
    "series0": "#5b93ff",
    "series1": "#e0701a",
    "series2": "#2fe39a",
    "series3": "#c07ab0",
    "series4": "#ede10c",
    "series5": "#d6f5ff",
}
SERIES = sum(name.startswith("series") for name in LIGHT)
"""How many series one plot can have."""
