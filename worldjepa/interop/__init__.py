"""Checkpoints of others and our own: read exactly, written back, and started from. One file a layout, see `layouts.py`."""

from worldjepa.interop.loading import load
from worldjepa.interop.model import Pretrained
from worldjepa.interop.saving import save

__all__ = ["Pretrained", "load", "save"]
