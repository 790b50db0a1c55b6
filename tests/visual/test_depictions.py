"""Every modality's pictures show at each cell what the token of that number is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from modalities.audio.depiction import Spectrograms
from modalities.image.depiction import Images
from modalities.trajectory.depiction import Episode
from modalities.video.depiction import Frames
from worldjepa.cli.compose import config_folder
from worldjepa.cli.options import open_library
from worldjepa.cli.usual import read_usual
from worldjepa.errors import UserError
from worldjepa.train.locate import locate
from worldjepa.types import Grid
from worldjepa.visual.depiction import Depiction, rgb

CASES = {
    "image": (Images(), torch.zeros(2, 3, 8, 12, dtype=torch.uint8), Grid(1, 2, 3)),
    "grey float image": (Images(), torch.zeros(2, 1, 8, 12), Grid(1, 2, 3)),
    "clip": (Frames(), torch.zeros(2, 1, 6, 8, 12, dtype=torch.uint8), Grid(3, 2, 3)),
    "still in a clip's place": (Frames(), torch.zeros(2, 3, 8, 12, dtype=torch.uint8), Grid(1, 2, 3)),
    "spectrogram": (Spectrograms(), torch.zeros(2, 1, 12, 8), Grid(3, 2, 1)),
    "trajectory": (Episode(), torch.zeros(2, 4, 2, 8, 8, dtype=torch.uint8), Grid(4, 1, 1)),
    "trajectory of patches": (Episode(), torch.zeros(2, 4, 2, 8, 8, dtype=torch.uint8), Grid(4, 2, 2)),
}


def test_every_modality_names_a_depiction_that_is_tested() -> None:
    files = open_library(config_folder(), []).groups()["modality"]
    named = {locate(str(usual.depiction), name) for name, usual in read_usual(files).items()}
    assert named == {type(depiction) for depiction, _, _ in CASES.values()}


def lit(obs: Tensor, grid: Grid, token: int) -> Tensor:
    """The observations with everything that a token of the second one is made of at its largest."""
    t, h, w = np.unravel_index(token, tuple(grid))
    obs = obs.clone()
    high = 255 if obs.dtype == torch.uint8 else 1.0
    times = {5: 2, 4: None}[obs.ndim]
    if grid.w == 1 and obs.shape[1] == 1 and obs.ndim == 4:  # a spectrogram: time, then bands
        each = obs.shape[2] // grid.t, obs.shape[3] // grid.h
        obs[1, :, t * each[0] : (t + 1) * each[0], h * each[1] : (h + 1) * each[1]] = high
        return obs
    rows, columns = obs.shape[-2] // grid.h, obs.shape[-1] // grid.w
    place = np.s_[h * rows : (h + 1) * rows, w * columns : (w + 1) * columns]
    if times is None:
        obs[1, :, *place] = high
    elif obs.shape[1] == grid.t:
        obs[1, t, :, *place] = high
    else:
        each = obs.shape[2] // grid.t
        obs[1, :, t * each : (t + 1) * each, *place] = high
    return obs


@pytest.mark.parametrize("name", CASES)
def test_each_cell_shows_its_token_and_no_other(name: str) -> None:
    depiction, obs, grid = CASES[name]
    assert isinstance(depiction, Depiction)
    places = depiction.places(grid)
    assert sorted(places.flatten().tolist()) == list(range(grid.size))
    frames, rows, columns = places.shape
    for token in range(grid.size):
        pictures = depiction.pictures(lit(obs, grid, token), grid)
        assert pictures.shape[:2] == (2, frames)
        high, wide = pictures.shape[2] // rows, pictures.shape[3] // columns
        changed = (pictures[1] != pictures[0]).any(-1)
        ((frame, row, column),) = np.argwhere(places == token)
        expected = np.zeros_like(changed)
        expected[frame, row * high : (row + 1) * high, column * wide : (column + 1) * wide] = True
        assert (changed == expected).all()


def test_low_bands_are_at_the_bottom_and_time_goes_to_the_right() -> None:
    places = Spectrograms().places(Grid(3, 2, 1))
    assert places.tolist() == [[[1, 3, 5], [0, 2, 4]]]


def test_states_are_dots_at_their_first_two_numbers() -> None:
    states = torch.tensor([[[0.0, 0.0, 9.0], [1.0, 0.0, 9.0], [1.0, 2.0, 9.0]]])
    pictures = Episode().pictures(states, Grid(3))
    middles = [np.argwhere(picture[..., 0] < 100).mean(0) for picture in pictures[0]]
    assert middles[0][0] == middles[1][0] < middles[2][0]  # y is downwards
    assert middles[0][1] < middles[1][1] == middles[2][1]


def test_channels_become_colours() -> None:
    three = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert (rgb(three) == three.permute(0, 2, 3, 1).numpy()).all()
    grey = rgb(three[:, :1])
    assert (grey == three[:, 0, ..., None].expand(-1, -1, -1, 3).numpy()).all()
    two = torch.tensor([[255, 0], [0, 255]], dtype=torch.uint8)[..., None, None]
    assert rgb(two)[:, 0, 0].tolist() == [[255, 128, 0], [0, 128, 255]]


@pytest.mark.parametrize(
    ("depiction", "shape", "grid"),
    [
        (Images(), (1, 3, 4, 8, 8), Grid(4, 2, 2)),
        (Frames(), (1, 3, 8), Grid(1)),
        (Spectrograms(), (1, 2, 8, 8), Grid(2, 2)),
        (Episode(), (1, 3, 2, 8, 8), Grid(2)),
    ],
)
def test_observations_of_another_modality_are_refused(depiction: Depiction, shape: tuple[int, ...], grid: Grid) -> None:
    with pytest.raises(UserError, match="cannot be drawn of observations"):
        depiction.pictures(torch.zeros(shape), grid)
