"""The limits of single settings that a type cannot express."""

from __future__ import annotations

from worldjepa.errors import UserError
from worldjepa.train.settings import OptimSettings, ProbeSettings, RunSettings

_POSITIVE = {
    "run": (
        *("steps", "epochs", "batch_size", "accumulate", "num_nodes", "clip_norm", "threads"),
        *("log_every", "eval_every", "save_every", "keep", "keep_every"),
        *("max_bad_steps", "spike_factor", "data_timeout", "comm_timeout"),
    ),
    "optim": ("lr", "eps", "ipe_scale", "decay_steps"),
    "probe": ("knn_k", "knn_temperature", "batch_size", "max_train", "max_test"),
}
_NOT_NEGATIVE = {
    "run": ("workers",),
    "optim": (
        "start_lr",
        "final_lr",
        "warmup_epochs",
        "warmup_steps",
        "warmup_share",
        "weight_decay",
        "final_weight_decay",
    ),
}


def check_limits(run: RunSettings, optim: OptimSettings, probe: ProbeSettings) -> None:
    """Check that the settings can be meant.

    Raises:
        UserError: a number lies outside its limits, or of two keys that exclude each other both or neither is given.
    """
    for group, values in (("run", run), ("optim", optim), ("probe", probe)):
        for name in _POSITIVE.get(group, ()):
            _check(group, name, getattr(values, name), above_zero=True)
        for name in _NOT_NEGATIVE.get(group, ()):
            _check(group, name, getattr(values, name), above_zero=False)
    _exactly_one("run", run, ("steps", "epochs"))
    _exactly_one("optim", optim, ("warmup_epochs", "warmup_steps", "warmup_share"))
    if not all(0 <= beta < 1 for beta in optim.betas):
        raise UserError(f"optim.betas={list(optim.betas)}: each must be at least 0 and below 1")
    if isinstance(run.devices, int) and run.devices < 1 and run.devices != -1:
        raise UserError(f"run.devices={run.devices}: must be at least 1, or -1 for all there are")


def _check(group: str, name: str, value: float | None, above_zero: bool) -> None:
    # Written so that NaN, which compares as false with everything, is refused too.
    if value is not None and not (value > 0 if above_zero else value >= 0):
        raise UserError(f"{group}.{name}={value}: must be {'greater than 0' if above_zero else '0 or more'}")


def _exactly_one(group: str, settings: object, names: tuple[str, ...]) -> None:
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    if not given:
        raise UserError(f"give {' or '.join(f'{group}.{name}' for name in names)}: none has a value")
    if len(given) > 1:
        raise UserError(
            f"{' and '.join(f'{group}.{name}={value}' for name, value in given.items())} are given together: keep one and set "
            f"the other to null, as in {group}.{list(given)[-1]}=null"
        )
