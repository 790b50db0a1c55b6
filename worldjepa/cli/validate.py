"""Checks a composed configuration before anything is built or written: the constructor is the schema."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from worldjepa.cli.agree import agrees, name_of
from worldjepa.cli.keys import Tree, origin, unknown_child
from worldjepa.cli.limits import check_limits
from worldjepa.cli.schema import HYDRA_KEYS, SETTINGS, Schema, schema_of, settings_schema
from worldjepa.errors import UserError, unknown
from worldjepa.train.settings import OptimSettings, ProbeSettings, RunSettings

if TYPE_CHECKING:
    from omegaconf import DictConfig

PARTS = ("modality", "data", "arch", "masks", "predictor", "target", "objective")
"""The groups that a model and its data are built from."""

SHARED = ("positions", "levels", "views")
"""Groups that others refer to or that add to a model; a composition whose parts need none can do without."""

BUILDER = frozenset({"encoder", "tokenizer", "dim", "heads", "steps", "grid", "input_dim", "acting", "predictor"})
"""Constructor arguments that the builder fills in from the other parts, so that no file need list them."""

_TOP = frozenset({"seed", *PARTS, *SHARED, *SETTINGS})
_T = TypeVar("_T")


def validate(config: DictConfig, supplied: Mapping[str, Collection[str]] | None = None) -> None:
    """Check every part of a composed configuration against the constructors and settings that it is meant for.

    Args:
        config: the configuration.
        supplied: for each top-level group, the constructor arguments that the builder fills in; `BUILDER` for groups
            that are not named.

    Raises:
        UserError: a group is missing; a `_target_` cannot be found; a key is unknown, missing or without a value; a
            value does not agree with its annotation or lies outside its limits. The message names the dotted key.
    """
    tree = _resolved(config)
    for name in tree:
        if name not in _TOP:
            raise unknown("top-level key", name, _TOP)
    for part in PARTS:
        if not isinstance(tree.get(part), Mapping):
            raise UserError(
                f"the configuration has no '{part}': choose an option with {part}=NAME (`worldjepa list {part}`)"
            )
    _check_seed(tree.get("seed"))
    if "seed" in tree["data"]:
        _check_seed(tree["data"]["seed"], "data.seed")
    raw = _unresolved(config)
    for part in (*PARTS, *(part for part in SHARED if part in tree)):
        if part == "modality" and "${modality." not in str(raw.get("arch")):
            continue  # an encoder that cuts its own tokens, such as timm's, leaves the tokenizer's numbers open
        _check_tree(tree[part], part, (supplied or {}).get(part, BUILDER), raw)
    settings(config)


def settings(config: DictConfig) -> tuple[RunSettings, OptimSettings, ProbeSettings]:
    """The groups `run`, `optim` and `probe` as typed values; a group that is absent takes its defaults.

    Raises:
        UserError: a key is unknown or without a value, or a value is of the wrong type or outside its limits.
    """
    tree = _resolved(config)
    run = _settings(tree, "run", RunSettings)
    optim = _settings(tree, "optim", OptimSettings)
    probe = _settings(tree, "probe", ProbeSettings)
    check_limits(run, optim, probe)
    return run, optim, probe


def _unresolved(config: DictConfig) -> Tree:
    from omegaconf import OmegaConf

    return cast(Tree, OmegaConf.to_container(config, resolve=False))


def _resolved(config: DictConfig) -> dict[str, Any]:
    from omegaconf import OmegaConf

    from worldjepa.cli.compose import check_references

    check_references(config)
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def _settings(tree: Mapping[str, Any], group: str, kind: type[_T]) -> _T:
    values = tree.get(group) or {}
    if not isinstance(values, Mapping):
        raise UserError(f"{group}={values}: '{group}' holds several keys, not one value")
    _check_node(values, group, settings_schema(group), frozenset(), tree)
    return kind(**{name: tuple(value) if name == "betas" else value for name, value in values.items()})


def _check_seed(seed: object, key: str = "seed") -> None:
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"{key}={seed}: must be a whole number, 0 or more")


def _check_tree(node: Any, where: str, supplied: Collection[str], raw: Tree) -> None:
    """Check a node and everything below it."""
    if node == "???":
        raise UserError(f"{where} has no value yet: give {where}=VALUE")
    if isinstance(node, Mapping):
        if "_target_" in node:
            target = node["_target_"]
            if not isinstance(target, str) or target == "???":
                raise UserError(f"{where}._target_={target}: must be a dotted path, package.module.Class")
            _check_node(node, where, schema_of(target, where), supplied, raw)
        for name, value in node.items():
            _check_tree(value, f"{where}.{name}", supplied, raw)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _check_tree(value, f"{where}.{index}", supplied, raw)


def _check_node(node: Tree, where: str, schema: Schema, supplied: Collection[str], raw: Tree) -> None:
    """Check the keys and values of one node against the parameters of its constructor.

    `raw` is the whole configuration with its references, to name the key that a wrong value comes from.
    """
    parameters = schema.parameters
    for name, value in node.items():
        if name in HYDRA_KEYS or (schema.open and name not in parameters):
            continue
        if name not in parameters:
            raise unknown_child(where, name, parameters)
        if value == "???":
            raise UserError(f"{where}.{name} has no value yet: give {where}.{name}=VALUE")
        annotation = parameters[name].annotation
        if not agrees(value, annotation):
            source = origin(raw, f"{where}.{name}")
            use = "" if source == f"{where}.{name}" else f" (it is used as {where}.{name})"
            raise UserError(f"{source}={_shown(value)}: must be {name_of(annotation)}{use}")
    if node.get("_partial_"):
        return
    for name, parameter in parameters.items():
        if parameter.required and name not in node and name not in supplied:
            raise UserError(
                f"{where}.{name} is missing: {node.get('_target_', where)} needs it; give {where}.{name}=VALUE"
            )


def _shown(value: object) -> str:
    return "null" if value is None else str(value)
