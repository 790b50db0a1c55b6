"""From a configuration to objects. The constructor is the schema; what only the run knows is offered by name."""

from __future__ import annotations

import inspect
from typing import Any, cast

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig
from torch import nn

from worldjepa.data import DataSource, Observations
from worldjepa.data.views import Single, Views
from worldjepa.errors import UserError
from worldjepa.evaluate.embed import batches, subset
from worldjepa.interfaces import Encoder, MaskSampler, Objective, Predictor, TargetEncoder, Tokenizer
from worldjepa.jepa import JEPA
from worldjepa.levels import Hierarchy, Level
from worldjepa.nn.actions import ActionSpec


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


FITTED_ON = 256
"""Training samples, spread evenly over all, that tokenizers are fitted on."""


def fit(model: nn.Module, observations: Observations) -> None:
    """Show a sample of the training data to the tokenizers of a part of the model that ask for it, and to its `ActionSpec`s.

    Raises:
        UserError: the actions are of another width, or there are none.
    """
    tokenizers = [
        part for part in model.modules() if isinstance(part, Tokenizer) and type(part).fit is not Tokenizer.fit
    ]
    actions = [part for part in model.modules() if isinstance(part, ActionSpec)]
    if not tokenizers and not actions:
        return
    sample = next(batches(observations, subset(observations, FITTED_ON), FITTED_ON), None)
    if sample is None:  # unreadable data are told of where they are first needed
        return
    for tokenizer in tokenizers:
        tokenizer.fit(sample.obs)
    for spec in actions:
        if sample.cond is None:
            raise UserError("the model expects actions, but these data hold none")
        spec.fit(sample.cond.x)


def build_views(config: DictConfig) -> Views:
    """The views of the group `views`; one where configurations from before there was the group have none."""
    return cast(Views, construct(config.views, Views)) if config.get("views") else Single()


def build_source(config: DictConfig) -> DataSource:
    """The data source of the group `data`, which shows the views of the group `views`.

    Raises:
        UserError: several views are asked for, and these data make one.
    """
    views = build_views(config)
    source = cast(DataSource, construct(config.data, DataSource, views=views))
    kind = type(source)
    if views.count > 1 and "views" not in inspect.signature(kind).parameters:
        raise UserError(
            f"views makes {views.count} views of each observation, but {kind.__module__}.{kind.__name__} shows one: several "
            "are for images; choose views=none, and a method that needs no views"
        )
    return source


def build_sampler(config: DictConfig) -> MaskSampler:
    """The mask sampler of the group `masks`."""
    return cast(MaskSampler, construct(config.masks, MaskSampler))


def build_model(config: DictConfig, steps: int, observations: Observations | None = None) -> JEPA:
    """The model of the groups `arch`, `predictor`, `target` and `objective`; random weights come from the global generator.

    Args:
        config: the whole configuration.
        steps: length of the schedules, for targets that have one.
        observations: the training data, for tokenizers that must know something about them; not needed where the state is
            loaded from a checkpoint.
    """
    encoder = construct(config.arch.encoder, Encoder)
    if observations is not None:
        fit(encoder, observations)
    predictor = construct(config.predictor, Predictor, input_dim=encoder.dim, out_dim=answer_width(config, encoder))
    target = construct(config.target, TargetEncoder, encoder=encoder, predictor=predictor, steps=steps)
    objective = construct(config.objective, Objective)
    above = build_levels(config, steps)
    if observations is not None:
        for part in (predictor, objective, *([] if above is None or above.actions is None else [above.actions])):
            fit(part, observations)
    return JEPA(encoder, predictor, target, objective, above, build_views(config).count)


def answer_width(config: DictConfig, encoder: Encoder) -> int:
    """Width of the answers of the group `target`, which is built after what must predict them."""
    kind = get_class(config.target["_target_"])
    return kind.width(encoder) if issubclass(kind, TargetEncoder) else encoder.dim


def build_levels(config: DictConfig, steps: int) -> Hierarchy | None:
    """The levels of the group `levels`; None where there are none, as in configurations from before there was the group."""
    group = config.get("levels")
    if not group or not group.above:
        return None
    actions = None if group.actions is None else construct(group.actions, ActionSpec)
    acting, above = 0 if actions is None else actions.width, []
    for node in group.above:  # one by one: each acts with the macro-actions of the one below
        level = construct(node, Level, acting=acting, steps=steps)
        above.append(level)
        acting = level.macro
    return Hierarchy(above, actions, group.detach, group.alone)
