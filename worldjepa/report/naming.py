"""What the numbers of a log are called where people read them."""

from __future__ import annotations

NAMES = {
    "train/loss": "loss",
    "train/lr": "learning rate",
    "train/wd": "weight decay",
    "train/ema": "EMA momentum",
    "train/grad_norm": "gradient norm",
    "train/epoch": "epochs",
    "train/context_tokens": "tokens of contexts",
    "train/target_tokens": "tokens of targets",
    "train/skipped": "skipped steps",
    "train/spikes": "spikes",
    "time/step": "seconds a step",
    "time/data_percent": "waiting for data, %",
    "perf/samples_per_s": "samples a second",
    "system/memory_gb": "peak memory, GB",
    "eval/prediction_ratio": "prediction ratio",
    "eval/prediction_loss": "prediction loss",
    "eval/mean_baseline_loss": "loss of predicting the mean",
    "collapse/rankme": "RankMe",
    "collapse/feature_std": "feature deviation",
}
PROBES = {"linear_top1": "linear probe, %", "knn_top1": "kNN, %"}

HEADLINE = ("eval/linear_top1", "eval/knn_top1", "eval/prediction_ratio", "collapse/rankme", "train/loss")
"""The number that is named first is the first of these that there is."""

LESS_IS_BETTER = ("eval/prediction_ratio", "train/loss")


def heading(name: str) -> str:
    """A metric's name for people."""
    if name in NAMES:
        return NAMES[name]
    group, _, rest = name.partition("/")
    factor, _, probe = rest.rpartition("/")
    if group == "eval" and probe in PROBES:
        return f"{factor}: {PROBES[probe]}" if factor else PROBES[probe]
    return rest if group in ("train", "eval") and rest else name
