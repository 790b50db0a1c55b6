"""Every row of the table of what keeps a world model from collapsing can be trained."""

from __future__ import annotations

import pytest
import torch

from benchmarks.collapse import VARIANTS
from worldjepa.cli.compose import compose_config
from worldjepa.cli.validate import validate
from worldjepa.data.views import stacked
from worldjepa.train.build import build_model, build_sampler, build_source

TOY = ["modality=trajectory", "data.layout=smaze", "data.episodes=4", "data.size=16", "arch.size=16", "arch.dim=8"]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_row_takes_a_step(name: str) -> None:
    config = compose_config("train", [*TOY, *VARIANTS[name]]).config
    validate(config)
    observations = build_source(config).train()
    torch.manual_seed(0)
    model = build_model(config, 10, observations)
    batch = stacked([observations.observe(index) for index in range(6)])
    masks = build_sampler(config)(model.encoder.grid(observations.shape), 6, torch.Generator().manual_seed(0))
    terms = model(batch._replace(masks=masks))
    torch.stack(list(terms.values())).sum().backward()
    moving = [parameter.grad for parameter in model.encoder.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in moving)
    silent = {term for term, value in terms.items() if float(value.detach()) == 0.0}
    expected = {"mse": True, "sigreg": "SIGReg" in name, "variance": "VICReg" in name}
    expected["inverse_dynamics"] = "inverse dynamics" in name
    assert {term for term in terms if term != "covariance"} - silent == {
        term for term, there in expected.items() if there
    }
