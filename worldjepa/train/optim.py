"""AdamW with I-JEPA's parameter groups."""

from __future__ import annotations

import torch
from torch import nn

from worldjepa.train.schedules import Plan
from worldjepa.train.settings import OptimSettings


def named_parts(model: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """The trainable parameters in the published order of groups, by name within each.

    Weights decay in `encoder` and `predictor`; everything one-dimensional or called bias goes to the `_no_decay` groups.
    Whatever is neither encoder nor predictor (an objective may have weights) counts to the predictor.
    """
    groups: dict[str, dict[str, nn.Parameter]] = {
        name: {} for name in ("encoder", "predictor", "encoder_no_decay", "predictor_no_decay")
    }
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = "encoder" if name.startswith("encoder.") else "predictor"
        spared = parameter.ndim == 1 or "bias" in name
        groups[part + ("_no_decay" if spared else "")][name] = parameter
    return groups


def build_optimizer(model: nn.Module, optim: OptimSettings) -> torch.optim.AdamW:
    """AdamW over `named_parts`; every group keeps its `name` and its parameters' `names`.

    Source: I-JEPA, `src/helper.py` of its repository.
    """
    groups = [
        {
            "params": list(members.values()),
            "name": group,
            "names": list(members),
            "weight_decay": 0.0 if group.endswith("_no_decay") else optim.weight_decay,
        }
        for group, members in named_parts(model).items()
        if members
    ]
    return torch.optim.AdamW(groups, lr=optim.lr, betas=(optim.betas[0], optim.betas[1]), eps=optim.eps, fused=True)


def set_schedules(optimizer: torch.optim.Optimizer, plan: Plan, step: int) -> tuple[float, float]:
    """Set learning rate and weight decay for optimiser step `step`; return the two."""
    lr, decay = plan.lr(step), plan.weight_decay(step)
    for group in optimizer.param_groups:
        group["lr"] = lr
        if not group["name"].endswith("_no_decay"):
            group["weight_decay"] = decay
    return lr, decay
