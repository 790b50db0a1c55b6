"""Named tensors in safetensors files, whole or in shards; any sharding can be read into any other.

A sharded tensor is cut along its first axis, as FSDP2 does. Shard k of n stands in `KIND-0000k-of-0000n.safetensors`, whose
metadata say at which row each of its pieces begins and how many rows the whole tensor has.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldjepa.errors import UserError

SHARD = re.compile(r"(?P<kind>model|optimizer)(?:-(?P<rank>\d{5})-of-(?P<shards>\d{5}))?\.safetensors")
"""Names of files of tensors."""

ROWS = "rows"
"""Where a file's metadata say which rows its pieces are."""


def shard_name(kind: str, rank: int, shards: int) -> str:
    """The file of one process."""
    return f"{kind}.safetensors" if shards == 1 else f"{kind}-{rank:05d}-of-{shards:05d}.safetensors"


class Piece(NamedTuple):
    """Where a process's part of a tensor stands in the whole, in rows."""

    first: int
    rows: int
    whole: int


class Held(NamedTuple):
    """What this process has of a tensor; without a piece it has it all."""

    value: Tensor
    piece: Piece | None


def held(tensors: Mapping[str, Tensor], copy: bool) -> dict[str, Held]:
    """This process's parts of tensors, outside of any graph.

    Args:
        tensors: whole or sharded tensors.
        copy: copy the values to memory of their own, on the CPU.
    """

    def take(value: Tensor) -> Tensor:
        mine = local(value.detach())
        return (mine.cpu() if mine.device.type != "cpu" else mine.clone()) if copy else mine

    return {name: Held(take(value), piece(value)) for name, value in tensors.items()}


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds: itself, unless it is sharded."""
    return tensor.to_local() if _sharded(tensor) else tensor  # type: ignore[attr-defined]


def piece(tensor: Tensor) -> Piece | None:
    """The rows that this process holds, or None for a tensor that is not sharded."""
    if not _sharded(tensor):
        return None
    mesh = tensor.device_mesh  # type: ignore[attr-defined]
    whole = tensor.shape[0]
    # FSDP2 cuts as torch.chunk does: equal pieces, rounded up; the last ones may be shorter or empty.
    rows = -(-whole // mesh.size())
    first = min(mesh.get_local_rank() * rows, whole)
    return Piece(first, min(rows, whole - first), whole)


def write_tensors(file: Path, tensors: Mapping[str, Held], rank: int, shards: int) -> None:
    """Write this process's part of all tensors; what is not sharded is written by the first process only.

    Raises:
        OSError: the disk does not take it.
    """
    mine = {name: one for name, one in tensors.items() if rank == 0 or one.piece is not None}
    rows = {name: (one.piece.first, one.piece.whole) for name, one in mine.items() if one.piece is not None}
    metadata = {ROWS: json.dumps(rows)} if shards > 1 else None
    try:
        save_file({name: one.value.cpu().contiguous() for name, one in mine.items()}, file, metadata)
    except SafetensorError as error:  # its words for all that the file system refuses
        raise OSError(str(error)) from error


class Found(NamedTuple):
    """One piece of a stored tensor."""

    file: Path
    first: int
    shape: tuple[int, ...]


class Stored:
    """All tensors of one kind in a checkpoint.

    Args:
        kind: `model` or `optimizer`.
        path: the checkpoint, for messages.
        files: the files that hold them.

    Raises:
        UserError: a file is not in the format, or pieces are missing.
    """

    def __init__(self, kind: str, path: Path, files: Sequence[Path]) -> None:
        self.kind = kind
        self.path = path
        self.pieces: dict[str, list[Found]] = {}
        whole: dict[str, int] = {}
        for file in files:
            with _opened(file) as saved:
                rows = _rows(file, saved.metadata())
                for name in saved.keys():  # noqa: SIM118 - not a dictionary
                    first, total = rows.get(name, (0, None))
                    shape = tuple(saved.get_slice(name).get_shape())
                    self.pieces.setdefault(name, []).append(Found(file, first, shape))
                    if total is not None:
                        whole[name] = total
        self.shapes = {name: self._shape(name, found, whole.get(name)) for name, found in self.pieces.items()}

    def _shape(self, name: str, found: list[Found], whole: int | None) -> tuple[int, ...]:
        if whole is None:
            return found[0].shape
        found.sort(key=lambda one: (one.first, one.shape[0]))
        reached = 0
        for one in found:
            if one.first != reached and one.shape[0]:
                raise UserError(f"{self.path}: rows {reached} to {one.first} of {name} are missing")
            reached += one.shape[0]
        if reached != whole:
            raise UserError(f"{self.path}: rows {reached} to {whole} of {name} are missing")
        return (whole, *found[0].shape[1:])

    def check(self, own: Mapping[str, Tensor]) -> None:
        """Compare names and shapes.

        Raises:
            UserError: names of the tensors that are missing, left over or of another shape.
        """
        missing, extra = sorted(own.keys() - self.shapes.keys()), sorted(self.shapes.keys() - own.keys())
        wrong = [
            f"{name} (saved {list(self.shapes[name])}, here {list(own[name].shape)})"
            for name in sorted(self.shapes.keys() & own.keys())
            if self.shapes[name] != tuple(own[name].shape)
        ]
        if missing or extra or wrong:
            parts = [("missing", missing), ("left over", extra), ("of another shape", wrong)]
            told = "; ".join(f"{len(some)} {what}: {', '.join(some[:5])}" for what, some in parts if some)
            raise UserError(f"{self.path / self.kind} does not fit this {self.kind}: {told}")

    def values(self) -> dict[str, Tensor]:
        """All tensors, whole."""
        parts: dict[str, list[Tensor]] = {}
        for file in dict.fromkeys(one.file for found in self.pieces.values() for one in found):
            with _opened(file) as saved:
                for name, found in self.pieces.items():
                    if any(one.file == file for one in found):
                        parts.setdefault(name, []).append(saved.get_tensor(name))
        return {name: some[0] if len(some) == 1 else torch.cat(some) for name, some in parts.items()}

    @torch.no_grad()
    def copy_to(self, own: Mapping[str, Tensor]) -> None:
        """Copy all values; nothing is touched if anything does not fit. Each process reads the rows that it holds.

        Raises:
            UserError: see `check`.
        """
        self.check(own)
        by_file: dict[Path, list[tuple[str, Found]]] = {}
        for name, found in self.pieces.items():
            for one in found:
                by_file.setdefault(one.file, []).append((name, one))
        for file, members in by_file.items():
            with _opened(file) as saved:
                for name, one in members:
                    _copy_rows(own[name], one, saved, name)


def _copy_rows(own: Tensor, found: Found, saved: Any, name: str) -> None:
    """Copy the rows that a stored piece and this process's part of a tensor have in common."""
    mine = piece(own)
    if not own.ndim or (mine is None and found.shape == tuple(own.shape)):
        own.copy_(saved.get_tensor(name))
        return
    first, rows = (0, own.shape[0]) if mine is None else (mine.first, mine.rows)
    start, stop = max(first, found.first), min(first + rows, found.first + found.shape[0])
    if start < stop:
        local(own)[start - first : stop - first] = saved.get_slice(name)[start - found.first : stop - found.first].to(
            own.device
        )


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} cannot be read as safetensors: {error}") from error


def _rows(file: Path, metadata: Mapping[str, str] | None) -> dict[str, tuple[int, int]]:
    """The first row and the number of rows of the whole, of every sharded tensor in a file."""
    try:
        rows = json.loads((metadata or {}).get(ROWS, "{}"))
        return {name: (int(first), int(whole)) for name, (first, whole) in rows.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} does not say which rows it holds: {error}") from error


def _sharded(tensor: Tensor) -> bool:
    # Who has sharded a tensor has imported this; importing it here would cost every start more than a second.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)
