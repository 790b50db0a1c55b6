"""Colours, sheets, and how they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldjepa.errors import Unsaved
from worldjepa.visual import colours
from worldjepa.visual.sheet import SMALL, Cell, Shown, font, framed, legend, save, sheet, sized, spread, strip, wrapped


def lab(pixels: np.ndarray) -> np.ndarray:
    """OKLab of sRGB, from the published matrices for that direction."""
    share = pixels / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    one = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    lms = np.cbrt(linear @ np.array([*one, [0.0883024619, 0.2817188376, 0.6299787005]]).T)
    other = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    return np.asarray(lms @ np.array([*other, [0.0259040371, 0.7827717662, -0.8086757660]]).T)


def test_the_colour_map_is_even_and_tells_order_by_lightness_alone() -> None:
    table = colours.heat(np.linspace(0, 1, 256))
    linear = colours.linear_rgb(colours.ramp_lab())
    assert linear.min() >= 0  # a screen can show all of it
    assert linear.max() <= 1
    seen = lab(table.astype(float))
    assert np.diff(seen[::8, 0]).min() > 0.01
    steps = np.linalg.norm(np.diff(seen[::15], axis=0), axis=-1)
    assert steps.max() / steps.min() < 1.1


def test_colours_of_the_ends_and_of_no_number() -> None:
    low, middle, high, none = colours.heat(np.array([-3.0, 0.5, 9.0, np.nan]))
    assert (low == colours.heat(np.zeros(1))[0]).all()
    assert (high == colours.heat(np.ones(1))[0]).all()
    assert tuple(none) == colours.GREY
    assert int(low.sum()) < int(middle.sum()) < int(high.sum())


def test_known_colours_come_out_of_oklab() -> None:
    assert colours.srgb(np.array([[1.0, 0, 0], [0, 0, 0], [0.62796, 0.22486, 0.12585]])).tolist() == [
        [255, 255, 255],
        [0, 0, 0],
        [255, 0, 0],
    ]


def test_spread_is_a_division_by_whole_pixels() -> None:
    cells = np.arange(6, dtype=np.uint8).reshape(2, 3, 1).repeat(3, -1)
    assert (spread(cells, 4, 6)[..., 0] == np.kron(cells[..., 0], np.ones((2, 2)))).all()
    assert spread(cells, 5, 7).shape == (5, 7, 3)


@pytest.mark.parametrize("size", [(16, 24), (17, 25)])
def test_a_frame_lies_on_the_edge_of_its_cell(size: tuple[int, int]) -> None:
    cells = np.zeros((2, 3, 3), np.uint8)
    cells[1, 2] = 200
    picture = spread(cells, *size)
    inside = picture[..., 0] == 200
    after = (framed(picture, (1, 2), (2, 3), (1, 2, 3)) != picture).any(-1)
    rows, columns = np.where(after)
    there = np.argwhere(inside)
    assert (inside | ~after).all()
    assert [rows.min(), columns.min(), rows.max(), columns.max()] == [*there.min(0), *there.max(0)]


def test_pictures_are_enlarged_by_whole_factors_and_reduced_where_they_are_large() -> None:
    small = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert (sized(small, 7)[::4, ::4] == small).all()
    assert sized(np.zeros((3, 40, 80, 3), np.uint8), 20).shape == (3, 10, 20, 3)
    assert strip(np.zeros((4, 5, 6, 3), np.uint8), gap=2).shape == (5, 4 * 6 + 3 * 2, 3)


def test_lines_fit_and_lose_no_word() -> None:
    text = "the quick brown fox jumps over the lazy dog and writes about it"
    lines = wrapped(text, 90, SMALL)
    assert " ".join(lines) == text
    assert len(lines) > 2
    assert max(font(SMALL).getlength(line) for line in lines) <= 90


def test_a_sheet_holds_every_picture_whole() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((30, 100), (40, 150), (50, 98))]
    made = np.asarray(
        sheet(
            [
                [Cell(pictures[0], "a caption that is long"), Cell(pictures[1])],
                [legend("what", "0", "1")],
                [Cell(pictures[2], "b"), Cell(pictures[0])],
            ],
            "title",
        )
    )
    for picture in pictures:
        high, wide = picture.shape[:2]
        windows = np.lib.stride_tricks.sliding_window_view(made[..., 0], (1, wide))[:, :, 0]
        starts = np.argwhere((windows == picture[0, :, 0]).all(-1))
        assert any((made[y : y + high, x : x + wide] == picture).all() for y, x in starts)


def test_films_are_written_beside(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 9), (shade, 0, 0)) for shade in (0, 100, 200)]
    assert save(Shown(frames[0], "", {}), tmp_path / "a.png") == [tmp_path / "a.png"]
    files = save(Shown(frames[0], "", {}, frames), tmp_path / "b.png")
    with Image.open(files[1]) as film:
        assert getattr(film, "n_frames", 1) == 3
    with pytest.raises(Unsaved, match="could not be written"):
        save(Shown(frames[0], "", {}), tmp_path / "nowhere" / "a.png")
