"""The gradient of one step: forward and backward passes over the rows of this process, in pieces that fit into memory."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from worldjepa.data.views import rows
from worldjepa.errors import UserError
from worldjepa.train.settings import RunSettings
from worldjepa.train.stream import Batches
from worldjepa.train.team import Team
from worldjepa.types import Batch, Masks


class Gradient:
    """Computes gradients and, when memory runs out, halves the pieces that it works in.

    The global batch and its samples stay what they are, so that the gradient does too, up to rounding. (An objective that
    looks at a whole batch, such as variance and covariance, then looks at its pieces.)

    In several processes the gradients are averaged while the backward pass goes on. Where memory may run out nobody could
    step back from that, so shapes larger than any that has fit before are averaged after all processes have said that they
    are through.

    Args:
        team: the processes.
        wrapped: the model as Fabric has wrapped it.
        model: the model itself.
        batches: which rows of a step are this process's.
        run: batch size and accumulation.
        say: tells the user something.
    """

    def __init__(
        self,
        team: Team,
        wrapped: _FabricModule,
        model: nn.Module,
        batches: Batches,
        run: RunSettings,
        say: Callable[[str], None],
    ) -> None:
        self.team = team
        self.wrapped = wrapped
        self.model = model
        self.batches = batches
        self.run = run
        self.say = say
        self.micro = run.batch_size
        """Samples in each forward pass."""
        self.fits = (0, 0)
        """The most context and target tokens that have fit, for the present `micro`."""

    def state(self) -> dict[str, Any]:
        """What later steps depend on, as plain JSON values."""
        return {"micro": self.micro, "fits": list(self.fits)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`; pieces larger than the batch become the batch."""
        self.micro = min(self.run.batch_size, state["micro"])
        self.fits = (state["fits"][0], state["fits"][1])

    def compute(self, obs: list[Batch], masks: list[Masks]) -> dict[str, Tensor]:
        """Leave the gradient in the parameters and return the terms of this process's loss.

        Args:
            obs: this process's observations, `[batch_size, *shape]` for each forward pass of the step, without masks.
            masks: of the global batch.

        Raises:
            UserError: memory runs out with single samples, or where no process can step back.
        """
        shape = (
            sum(mask.context[0].numel() for mask in masks),
            sum(mask.target[0].numel() for mask in masks),
        )
        while True:
            careful = not self.team.sharded and (shape[0] > self.fits[0] or shape[1] > self.fits[1])
            terms: dict[str, Tensor] | None = None
            try:
                terms = self._passes(obs, masks, overlap=not careful)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if self.team.size > 1 and not careful:
                    raise UserError(self._stuck()) from error
            if any(self.team.agree(terms is None)) if careful else terms is None:
                self._halve()
                continue
            assert terms is not None
            if careful and self.team.size > 1:
                self.team.average(self.model)
            self.fits = (max(shape[0], self.fits[0]), max(shape[1], self.fits[1]))
            return terms

    def _passes(self, obs: list[Batch], masks: list[Masks], overlap: bool) -> dict[str, Tensor]:
        fabric = self.team.fabric
        self.model.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        samples = self.run.batch_size * self.run.accumulate
        for part, batch in enumerate(obs):
            theirs = self.batches.rows(part)
            for first in range(0, self.run.batch_size, self.micro):
                stop = min(first + self.micro, self.run.batch_size)
                mine = slice(theirs.start + first, theirs.start + stop)
                last = part == len(obs) - 1 and stop == self.run.batch_size
                piece = fabric.to_device(rows(batch, slice(first, stop)))._replace(
                    masks=[Masks(*(fabric.to_device(index[mine]) for index in mask)) for mask in masks]
                )
                share = (stop - first) / samples
                with fabric.no_backward_sync(self.wrapped, enabled=not (last and overlap)):
                    terms = self.wrapped(piece)
                    fabric.backward(total(terms) * share)
                for name, value in terms.items():
                    value = value.detach() * share
                    sums[name] = sums[name] + value if name in sums else value
        return sums

    def _halve(self) -> None:
        self.model.zero_grad(set_to_none=True)
        gc.collect()
        if self.team.fabric.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.micro == 1:
            raise UserError(
                "out of memory with one sample in a forward pass: choose a smaller model (arch=), a smaller data.size, "
                "run.activation_checkpointing=true or run.precision=bf16-mixed"
            )
        self.micro = math.ceil(self.micro / 2)
        self.fits = (0, 0)
        self.say(
            f"out of memory: forward passes of {self.micro} samples from now on, on all devices, and the same global batch"
        )

    def _stuck(self) -> str:
        return (
            f"out of memory in a step of {self.micro} samples per forward pass, where other processes cannot step back: start "
            f"again with run.resume=auto, run.batch_size={max(1, self.run.batch_size // 2)} and "
            f"run.accumulate={2 * self.run.accumulate}, which make the same global batch"
        )


def total(terms: dict[str, Tensor]) -> Tensor:
    """The loss: the sum of the terms."""
    return torch.stack(list(terms.values())).sum()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # What PyTorch's allocator for processors says: a plain RuntimeError.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def norm_of(model: nn.Module) -> Tensor:
    """The norm of the whole gradient, on every process the same."""
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    full = getattr(norm, "full_tensor", None)  # of sharded gradients
    return norm if full is None else full()


def clip(model: nn.Module, limit: float, norm: Tensor) -> None:
    """Scale the gradient down so that its norm, now `norm`, is at most `limit`."""
    torch.nn.utils.clip_grads_with_norm_(model.parameters(), limit, norm)
