"""Things followed through videos by the likeness of each row's tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from worldjepa.bench.encoders import LEARNED, Device, Encoders
from worldjepa.bench.examples import digest_of
from worldjepa.bench.jobs import Found, Spec
from worldjepa.bench.probes import VERSION
from worldjepa.bench.sight import check_finite, flat, pieces
from worldjepa.bench.subject import Subject
from worldjepa.bench.tasks import Most, Task
from worldjepa.data import Observations
from worldjepa.data.pixels import Tracked, Tracking
from worldjepa.errors import Unreadable, UserError, unknown
from worldjepa.evaluate.features import TOKENS
from worldjepa.evaluate.propagation import Propagation, averages, follow, propagate

FOLLOW: dict[str, Any] = {"height": 480, **Propagation()._asdict()}
"""How things are followed where a task says nothing: frames of about so many rows, and how labels travel (DINO)."""
SPLIT = "val"
AT_A_TIME = 8
"""Frames of a pass: they are large."""


class FollowBed:
    """One model on the videos of one data set.

    Args:
        subject: the model.
        source: the videos.
        shown: single frames as the model sees them in training: their size says how many pixels a token has.
        facts: what the data are.
        task: the task.
        most: of `test`, how many videos at most.
        place: where and how encoders run.

    Raises:
        UserError: a key of the task's `follow` is not known, or the model does not see single pictures.
    """

    def __init__(
        self,
        subject: Subject,
        source: Tracking,
        shown: Observations,
        facts: Mapping[str, Any],
        task: Task,
        most: Most,
        place: Device,
    ) -> None:
        strange = [key for key in task.follow if key not in FOLLOW]
        if strange:
            raise unknown(f"task {task.name}: follow", strange[0], FOLLOW)
        self.subject, self.source, self.place, self.data_facts = subject, source, place, dict(facts)
        self.settings: dict[str, Any] = {**FOLLOW, **task.follow}
        self.encoders = Encoders(subject, lambda: shown)
        names = source.names(SPLIT)
        frames = [source.frames(name) for name in names]
        chosen = range(len(names)) if most.test is None else _spread(len(names), most.test)
        self.videos = {names[i]: frames[i].fingerprint() for i in chosen}
        rows, columns = flat(subject.model.encoder.grid(shown.shape), shown.shape)
        self.pixels = (shown.shape[1] // rows, shown.shape[2] // columns)

    def facts(self, spec: Spec) -> dict[str, Any]:
        """All that decides a result."""
        task, row, probe, seed = spec
        found: dict[str, Any] = {
            "data": self.data_facts,
            "videos": list(self.videos.items()),
            "task": [task.name, task.version, task.metric],
            "follow": self.settings,
            "row": row,
            "probe": [probe, VERSION],
            "token": self.pixels,
        }
        if row in LEARNED:
            found |= {"weights": self.weights(spec), "encoder": self.subject.node, "precision": self.place.precision}
        return found

    def weights(self, spec: Spec) -> str | None:
        """The hash of the weights that a row is about."""
        return self.encoders.weights(spec.row, spec.seed)

    def answer(self, spec: Spec) -> Found:
        """Follow everything; videos that cannot be read are left out and counted.

        Raises:
            UserError: no video can be read, or the features are no numbers.
        """
        region, boundary, examples = list[Tensor](), list[Tensor](), list[tuple[str, range]]()
        for name, fingerprint in self.videos.items():
            try:
                video = self.source.sequence(name, self._size(name))
            except Unreadable:
                continue
            found = follow(self._followed(spec, video), video.labels, video.objects)
            region.append(found.region)
            boundary.append(found.boundary)
            examples.append((fingerprint, range(video.objects)))
        if not examples:
            raise UserError(f"none of {len(self.videos)} videos can be read, beginning with {next(iter(self.videos))}")
        j, f = torch.cat(region).double(), torch.cat(boundary).double()
        told = averages(j, f)
        scores = {"j_and_f": told["jf"], "j": told["j"], "f": told["f"]}
        unread = len(self.videos) - len(examples)
        return Found(told["jf"], scores, {}, (0, 0, len(j)), unread, 50 * (j + f), digest_of(examples), 0.0)

    def _size(self, name: str) -> tuple[int, int]:
        """Rows and columns that frames are resized to: whole tokens, the nearest to the height that is asked for."""
        (rows, columns), height = self.source.extent(name), self.settings["height"]
        high, wide = self.pixels
        width = columns * height / rows
        return max(1, round(height / high)) * high, max(1, round(width / wide)) * wide

    def _followed(self, spec: Spec, video: Tracked) -> Int[Tensor, "T H W"]:
        """What is found in each frame; by chance everything stays where it was."""
        if spec.row == "chance":
            return video.labels[:1].expand(len(video.labels), -1, -1)
        _, _, height, width = video.frames.shape
        lattice = (height // self.pixels[0], width // self.pixels[1])
        tokens = self._tokens(spec, video.frames, lattice)
        settings = Propagation(**{key: value for key, value in self.settings.items() if key != "height"})
        first = video.labels[0].to(tokens.device)
        return propagate(tokens, lattice, first, video.objects, settings).cpu()

    @torch.no_grad()
    def _tokens(self, spec: Spec, frames: UInt8[Tensor, "T C h w"], lattice: tuple[int, int]) -> Float[Tensor, "T n D"]:
        if spec.row == "raw input":
            return pieces(frames, lattice)
        device, found = self.place.device, []
        encoder = self.encoders.of(spec.row, spec.seed)[0].to(device).eval()
        for some in frames.split(AT_A_TIME):  # type: ignore[no-untyped-call]
            with self.place.autocast():
                found.append(TOKENS.of(encoder, some.to(device))[:, -1])
        tokens = torch.cat(found)
        check_finite(tokens, spec.row, self.subject.name)
        return tokens


def _spread(count: int, most: int) -> list[int]:
    """So many of a count, spread evenly."""
    return sorted({round(i * (count - 1) / max(1, most - 1)) for i in range(min(count, most))})
