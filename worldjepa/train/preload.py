"""Imported by the server that starts data workers, before it starts the first one, and by nobody else.

It brings in what workers need, once for all, and ties the server's life to that of the process that it serves: by itself it
would live on as long as one of its workers does, and a worker that hangs does so for ever.
"""

from __future__ import annotations

import worldjepa.train.feed as feed
from worldjepa.train.signals import die_with_parent

__all__ = ["feed"]

die_with_parent()
