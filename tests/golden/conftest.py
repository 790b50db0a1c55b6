"""Embedded data sets are kept in a folder of the session."""

from train.conftest import home

__all__ = ["home"]
