"""Principal components: the right ones, at the right places, by one basis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modalities.audio.depiction import Spectrograms
from modalities.image.depiction import Images
from visual.known import Known
from worldjepa.errors import UserError
from worldjepa.types import Grid, Tokens
from worldjepa.visual.colours import GREY
from worldjepa.visual.pca import features, fit_basis, foreground_of, matched, pca_picture


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def turned(seed: int) -> Tensor:
    return torch.linalg.qr(drawn(5, 5, seed=seed))[0]


IMAGES = torch.randint(0, 256, (3, 1, 3, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
OBS = IMAGES.repeat_interleave(4, 2).repeat_interleave(4, 3)
"""Images of 3 x 5 cells of one brightness each."""


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    x = drawn(200, 6) * torch.tensor([5.0, 3, 2, 1, 0.5, 0.1]) @ torch.linalg.qr(drawn(6, 6, seed=2))[0] + 7
    basis = fit_basis(x)
    _, values, right = np.linalg.svd((x - x.mean(0)).double().numpy(), full_matrices=False)
    assert np.allclose(np.abs((basis.axes.numpy() * right[:3]).sum(-1)), 1, atol=1e-5)
    assert np.allclose(basis.held(x), values[:3] ** 2 / (values**2).sum(), atol=1e-5)
    assert (basis.axes.gather(1, basis.axes.abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("encoder", [Known(4), Known(4, turned(5))], ids=["plain", "turned"])
def test_the_colour_of_a_place_is_that_of_its_features(encoder: Known) -> None:
    # Lightness is the first component: here the brightness of the cell, which differs most.
    shown = pca_picture({"it": encoder}, OBS, Images(), shown=3)
    picture = np.asarray(shown.image).astype(int)
    side, left, gap = 125, 12, 12  # cells of 20 pixels become 120, at 6 times
    x = features(encoder, OBS)
    basis = fit_basis(x.flatten(0, 1))
    expected = basis.colours(x).reshape(3, 3, 5, 3).astype(int)
    light = basis.scores(x)[..., 0].flatten()
    bright = IMAGES.flatten().double()
    assert abs(float(torch.corrcoef(torch.stack([light, bright]))[0, 1])) > 0.99
    wide = 120
    assert side > wide
    for number in range(3):
        for row in range(3):
            for column in range(5):
                at_x = left + number * (wide + gap) + column * 24 + 12
                column_pixels = picture[:, at_x]
                wanted = expected[number, row, column]
                assert (column_pixels == wanted).all(-1).any(), (number, row, column)
    assert shown.numbers["checkpoints"][0]["held"] == pytest.approx(basis.held(x.flatten(0, 1)).tolist())


def test_cells_lie_where_the_depiction_says() -> None:
    depiction, grid = Spectrograms(), Grid(4, 3, 1)
    x = torch.zeros(1, 12, 3)
    x[0, :, 0] = grid.pos()[:, 0]  # grows with time
    x[0, :, 1] = 10 * grid.pos()[:, 1]  # and more with frequency
    lightness = fit_basis(x[0]).colours(x[0]).astype(int).sum(-1)[depiction.places(grid)[0]]
    assert lightness.shape == (3, 4)
    assert (np.diff(lightness, axis=0) < 0).all() or (np.diff(lightness, axis=0) > 0).all()


def test_the_same_features_have_the_same_colour_in_every_image_and_checkpoint() -> None:
    once = pca_picture({"a": Known(4), "b": Known(4)}, OBS[[0, 0, 1]], Images(), shown=3)
    first, second = once.numbers["checkpoints"]
    assert first["held"] == second["held"]
    basis = fit_basis(features(Known(4), OBS).flatten(0, 1))
    assert (basis.colours(features(Known(4), OBS[:1])) == basis.colours(features(Known(4), OBS))[:1]).all()


def test_one_basis_is_that_of_the_last() -> None:
    shown = pca_picture({"early": Known(4, 0.1 * turned(3)), "late": Known(4)}, OBS, Images())
    early, late = shown.numbers["checkpoints"]
    x = features(Known(4), OBS).flatten(0, 1)
    own = features(Known(4, 0.1 * turned(3)), OBS).flatten(0, 1)
    assert late["held"] == pytest.approx(fit_basis(x).held(x).tolist())
    assert early["held"] == pytest.approx(fit_basis(x).held(own).tolist())
    assert sum(early["held"]) < sum(late["held"])


def test_axes_and_signs_are_matched() -> None:
    x = drawn(300, 5) * torch.tensor([4.0, 3.9, 3.8, 0.1, 0.1])
    reference = fit_basis(x)
    wanted = reference.scores(x)
    for seed in range(4):
        other = x @ turned(seed)
        shuffled = fit_basis(other)
        order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
        signs = torch.tensor([[-1.0], [1.0], [-1.0]])
        shuffled = shuffled._replace(axes=(shuffled.axes * signs)[order])
        assert torch.allclose(matched(shuffled, other, wanted).scores(other), wanted, atol=1e-3)
    picture = pca_picture({"a": Known(4, turned(8)), "b": Known(4)}, OBS, Images(), fit="own")
    assert picture.numbers["checkpoints"][0]["held"] == pytest.approx(
        picture.numbers["checkpoints"][1]["held"], rel=1e-3
    )


def test_what_all_of_an_observation_shares_can_be_left_out() -> None:
    class Shifted(Known):
        """Each observation has a direction of its own, far from the others."""

        def forward(self, obs: Any, keep: Any = None) -> Tokens:
            x, pos = super().forward(obs, keep)
            return Tokens(x + 90 * torch.eye(5)[: len(x), None], pos)

    plain = pca_picture({"it": Known(4)}, OBS, Images(), centre="each").numbers["checkpoints"]
    shifted = pca_picture({"it": Shifted(4)}, OBS, Images(), centre="each").numbers["checkpoints"]
    assert shifted[0]["held"] == pytest.approx(plain[0]["held"], rel=1e-4)
    assert pca_picture({"it": Shifted(4)}, OBS, Images()).numbers["checkpoints"][0]["held"][0] > 0.5


def test_foreground_is_one_sign_of_the_first_component() -> None:
    places = np.arange(25).reshape(1, 5, 5)
    middle = torch.zeros(2, 25)
    middle[:, [6, 7, 8, 11, 12, 13, 16, 17, 18]] = 2.0
    first = middle - 1
    for scores in (first, -first):
        assert torch.equal(foreground_of(scores, "auto", places), middle > 0)
    assert torch.equal(foreground_of(first, "above", places), middle > 0)
    assert torch.equal(foreground_of(first, "below", places), middle == 0)
    assert foreground_of(first, "none", places).all()


def test_what_is_not_foreground_is_grey() -> None:
    obs = torch.zeros(2, 1, 20, 20, dtype=torch.uint8)
    obs[:, :, 4:16, 4:16] = torch.randint(150, 255, (2, 1, 12, 12), dtype=torch.uint8)
    shown = pca_picture({"it": Known(4)}, obs, Images(), foreground="auto")
    assert shown.numbers["foreground_share"] == pytest.approx(9 / 25)
    assert ((np.asarray(shown.image) == GREY).all(-1)).sum() >= 2 * 16 * 24 * 24 * 0.9


def test_mistakes() -> None:
    with pytest.raises(UserError, match="did you mean 'auto'"):
        pca_picture({"it": Known(4)}, OBS, Images(), foreground="aut")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no components to show"):
        fit_basis(torch.ones(7, 3))
    with pytest.raises(UserError, match="there is no layer 3"):
        pca_picture({"it": Known(4)}, OBS, Images(), layer=3)
    with pytest.raises(UserError, match="share no basis"):
        pca_picture({"it": Known(2), "other": Known(4)}, OBS, Images())
