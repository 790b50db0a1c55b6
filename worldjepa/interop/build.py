"""Parts from their nodes, filled with weights: every tensor finds its place or nothing is built."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.interfaces import Encoder, Predictor
from worldjepa.interop.layout import Part
from worldjepa.train.build import construct

_Kind = TypeVar("_Kind", bound=nn.Module)
_LOCK = threading.Lock()

MOST_NUMBER = 1 << 20
"""Whole numbers in a node are at most this: no width, depth or side comes near it."""


def build_encoder(part: Part, where: str) -> Encoder:
    """The encoder of a checkpoint.

    Raises:
        UserError: it cannot be built, or its weights do not fit.
    """
    return _built(part, Encoder, where)  # type: ignore[type-abstract]


def build_predictor(part: Part, where: str, input_dim: int) -> Predictor:
    """The predictor of a checkpoint, for representations of width `input_dim`.

    Raises:
        UserError: it cannot be built, or its weights do not fit.
    """
    offers = {"input_dim": input_dim}
    if "predictor_proj.weight" in part.weights:  # its answers need not be representations
        offers["out_dim"] = len(part.weights["predictor_proj.weight"])
    return _built(part, Predictor, where, **offers)  # type: ignore[type-abstract]


def _built(part: Part, kind: type[_Kind], where: str, **offers: int) -> _Kind:
    check_numbers(part.node, len(part.weights), where)
    # An encoder of timm would fetch weights over the network, only for them to be overwritten.
    node = {**part.node, "pretrained": False} if part.node.get("pretrained") else part.node
    with _LOCK, without_weights():
        made = instantiated(node, kind, where, **offers)
    fill(made, part.weights, where)
    return made.eval()


def instantiated(node: Mapping[str, Any], kind: type[_Kind], where: str, **offers: int) -> _Kind:
    """Construct a node.

    Raises:
        UserError: its constructor does not take what the node says.
    """
    try:
        return cast(_Kind, construct(OmegaConf.create(dict(node)), kind, **offers))
    except UserError:
        raise
    # All that constructors, Hydra and OmegaConf say of values that are none of theirs; RuntimeError: more memory than there is.
    except (
        HydraException,
        OmegaConfBaseException,
        TypeError,
        ValueError,
        RuntimeError,
        ArithmeticError,
        KeyError,
    ) as error:
        cause = error.__cause__ if isinstance(error.__cause__, UserError) else error
        first = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise UserError(
            f"{where}: {node.get('_target_')} cannot be built from its configuration: {first[:200]}"
        ) from error


def check_numbers(node: object, tensors: int, where: str, key: str = "") -> None:
    """Refuse numbers that no model has, before anything is built with them.

    Raises:
        UserError: names the key.
    """
    if isinstance(node, Mapping):
        for name, value in node.items():
            check_numbers(value, tensors, where, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            check_numbers(value, tensors, where, f"{key}.{index}")
    elif isinstance(node, int | float) and not isinstance(node, bool):
        most = tensors if key.rpartition(".")[2] == "depth" else MOST_NUMBER
        if not abs(node) <= most:
            raise UserError(f"{where}: {key}={str(node)[:40]} in its configuration is more than it can be ({most})")


@torch.no_grad()
def fill(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Give a module its weights, in float32 and in memory of their own.

    Raises:
        UserError: lists the tensors that are missing, left over or of another shape.
    """
    own = module.state_dict()
    check_fit({name: tuple(value.shape) for name, value in own.items()}, weights, where)
    copies = {name: value.to(torch.float32, copy=True).contiguous() for name, value in weights.items()}
    module.load_state_dict(copies, strict=True, assign=True)


def check_fit(own: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor], where: str) -> None:
    """Compare names and shapes.

    Raises:
        UserError: lists the tensors that are missing, left over or of another shape.
    """
    wrong = [
        f"{name} (in the file {list(weights[name].shape)}, expected {list(shape)})"
        for name, shape in own.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    parts = [
        ("missing", [name for name in own if name not in weights]),
        ("left over", sorted(weights.keys() - own.keys())),
        ("of another shape", wrong),
    ]
    told = [
        f"{len(some)} {what}: {', '.join(some[:8])}{' ...' if len(some) > 8 else ''}" for what, some in parts if some
    ]
    if told:
        raise UserError(f"{where}: its tensors do not fit: {'; '.join(told)}")


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules that are built inside have parameters without memory, which cost no time to initialise.

    Their buffers are real: constants such as the statistics of images are in no file.
    """
    register = nn.Module.register_parameter

    def register_empty(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        empty = None if param is None else nn.Parameter(param.detach().to("meta"), requires_grad=param.requires_grad)
        register(self, name, empty)

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
