"""Measurements that anyone can repeat: `python -m benchmarks.NAME`. Ratios are measured side by side in one run."""
