"""Exit codes of a training run that did not reach its end, for schedulers and scripts.

A mistake of the user exits with 2, a run folder that another process holds with 73, a disk that takes no checkpoint with 74:
see `worldjepa.errors`.
"""

REQUEUE = 75
"""Interrupted, with everything in place to go on: start again with `run.resume=auto`."""
NOT_FINITE = 76
"""Loss or gradient stopped being finite numbers, and going back once did not help."""
COLLAPSED = 77
"""The collapse alarm sounded, and `probe.on_alarm=stop`."""
