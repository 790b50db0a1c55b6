"""From a configuration to objects. The constructor is the schema; what only the run knows is offered by name."""

from __future__ import annotations

import inspect
from typing import Any, cast

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig

from worldjepa.data import DataSource
from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder, MaskSampler, Objective, Predictor, TargetEncoder
from worldjepa.jepa import JEPA


def construct(node: DictConfig, kind: type, **offers: Any) -> Any:
    """Instantiate `node._target_`, passing those offers that its constructor has a parameter for and the node leaves open.

    Raises:
        UserError: what comes out is not a `kind`.
    """
    parameters = inspect.signature(get_class(node["_target_"])).parameters
    given = {name: value for name, value in offers.items() if name in parameters and name not in node}
    # A partial keeps the offered objects out of the configuration, which would copy them.
    made = instantiate(node, _partial_=True, _convert_="all")(**given)
    if not isinstance(made, kind):
        raise UserError(f"{node['_target_']} is not a {kind.__name__} ({kind.__module__}.{kind.__name__})")
    return made


def build_source(config: DictConfig) -> DataSource:
    """The data source of the group `data`."""
    return cast(DataSource, construct(config.data, DataSource))


def build_sampler(config: DictConfig) -> MaskSampler:
    """The mask sampler of the group `masks`."""
    return cast(MaskSampler, construct(config.masks, MaskSampler))


def build_model(config: DictConfig, steps: int) -> JEPA:
    """The model of the groups `arch`, `predictor`, `target` and `objective`; random weights come from the global generator.

    Args:
        config: the whole configuration.
        steps: length of the schedules, for targets that have one.
    """
    encoder = construct(config.arch.encoder, Encoder)
    predictor = construct(config.predictor, Predictor, input_dim=encoder.dim)
    target = construct(config.target, TargetEncoder, encoder=encoder, steps=steps)
    objective = construct(config.objective, Objective)
    return JEPA(encoder, predictor, target, objective)
