"""The processes of a run: how they are started, what they agree on, and how none is left behind."""

from __future__ import annotations

import contextlib
import datetime
import faulthandler
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.strategies.strategy import Strategy
from torch import Tensor, nn

from worldjepa.errors import UserError
from worldjepa.train import exits, signals
from worldjepa.train.settings import RunSettings

LAUNCHED = "WORLDJEPA_LAUNCHED"
"""Set in the environment of processes that the first process of a run has started."""

START = 300.0
"""Seconds that processes may need to find each other."""

SHARDED = ("fsdp", "fsdp2")
"""Names of the strategy that shards weights, gradients and optimiser state over all devices."""

COMMUNICATION = (
    "Timed out",
    "timed out",
    "Connection closed",
    "Connection reset",
    "Connection refused",
    "Broken pipe",
    "NCCL",
)
"""Parts of what PyTorch says when other processes do not answer."""

T = TypeVar("T")


def launch(run: RunSettings) -> Fabric:
    """Start the processes that the settings ask for.

    Raises:
        UserError: the settings contradict each other or the machine.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # our own lines say which precision is used
    _check_devices(run)
    try:
        fabric = _fabric(run, _sharded(run) if run.strategy in SHARDED else run.strategy)
        if isinstance(fabric.strategy, DDPStrategy) and run.strategy in ("auto", "ddp"):
            fabric = _fabric(run, DDPStrategy(timeout=datetime.timedelta(seconds=max(START, run.comm_timeout))))
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        # Fabric checks these five against one another and against the machine; its own words say what is wrong.
        raise UserError(f"Lightning Fabric refuses the run settings: {error}") from error
    if "LT_CLI_USED" not in os.environ:
        mine = LAUNCHED not in os.environ
        if mine:
            os.environ[LAUNCHED] = str(os.getpid())
        try:
            fabric.launch()
        finally:
            if mine:
                del os.environ[LAUNCHED]
    if torch.distributed.is_initialized():
        # Processes may take longer to start than they may be silent later.
        limit = datetime.timedelta(seconds=run.comm_timeout)
        torch.distributed.distributed_c10d._set_pg_timeout(limit, torch.distributed.group.WORLD)
    return fabric


def _check_devices(run: RunSettings) -> None:
    """Say in our words what is asked for most often and not there."""
    if run.accelerator not in ("cuda", "gpu"):
        return
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not there and not torch.backends.mps.is_available():
        raise UserError(
            f"run.accelerator={run.accelerator}: PyTorch sees no such device here; take run.accelerator=auto or cpu, or let "
            "`worldjepa doctor` say what is missing"
        )
    if isinstance(run.devices, int) and 0 < there < run.devices:
        raise UserError(f"run.devices={run.devices}: this machine has {there}; run.devices counts those of one machine")


def _fabric(run: RunSettings, strategy: str | Strategy) -> Fabric:
    return Fabric(
        accelerator=run.accelerator,
        devices=run.devices,
        num_nodes=run.num_nodes,
        strategy=strategy,
        precision=run.precision,
    )


def _sharded(run: RunSettings) -> Strategy:
    from worldjepa.train.shard import shard

    probe = _fabric(run, "ddp")  # to count the devices
    return ModelParallelStrategy(
        shard,
        data_parallel_size=probe.world_size,
        tensor_parallel_size=1,
        timeout=datetime.timedelta(seconds=max(START, run.comm_timeout)),
    )


class Team:
    """The processes of a run as one: small decisions that all must take alike.

    Args:
        fabric: launched.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.rank = fabric.global_rank
        self.size = fabric.world_size
        self.sharded = isinstance(fabric.strategy, ModelParallelStrategy)
        self.shared: UserError | None = None
        """The error that all processes have raised together."""
        self.launched = None if self.rank == 0 else os.environ.get(LAUNCHED)
        """The process that started this one, if it was the first process of the run."""

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def agree(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is raised in any process."""
        if self.size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.float32, device=self.fabric.device)
        torch.distributed.all_reduce(raised, torch.distributed.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def lead(self, work: Callable[[], T]) -> T:
        """Let the first process do something; all get what it returns.

        Raises:
            UserError: the first process raised it; all processes raise the same.
        """
        if self.size == 1:
            return work()
        answer: tuple[T | None, UserError | None] = (None, None)
        if self.leads:
            try:
                answer = (work(), None)
            except UserError as error:
                answer = (None, error)
        result, failure = self.fabric.broadcast(answer)
        if failure is not None:
            self.shared = failure
            raise failure
        return result  # type: ignore[return-value]

    def together(self, work: Callable[[], T]) -> T:
        """Let every process do something that may fail in some of them.

        Raises:
            UserError: it failed here; or it failed elsewhere, and then all raise what the first of those raised.
        """
        if self.size == 1:
            return work()
        result, mine = None, None
        try:
            result = work()
        except UserError as error:
            mine = error
        if any(self.agree(mine is not None)):
            self.shared = next(error for error in self.gather(mine) if error is not None)
            raise self.shared
        return result  # type: ignore[return-value]

    def gather(self, value: T) -> list[T]:
        """What every process has, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def average(self, module: nn.Module) -> None:
        """Average the gradients over all processes, one by one: slow, but at a moment of our choosing."""
        for parameter in module.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= self.size

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        result: Tensor = self.fabric.all_reduce(value, reduce_op="mean")  # type: ignore[assignment]
        return result

    def depart(self, code: int) -> int:
        """Wait for the others, so that nobody who still saves is taken for left behind; return the exit code.

        Lightning ends all processes when one that it started exits with an error. The code of the run is the first one's.
        """
        self.fabric.barrier()
        self.disband()
        return 0 if self.launched is not None else code

    def disband(self) -> None:
        """End the process group, before the interpreter does.

        Its threads may hold tensors of Python's. Where they let go of them while the interpreter comes down, the process aborts
        after all its work is done (github.com/pytorch/pytorch/pull/179291).
        """
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _dismiss_observer() -> None:
    """Let Lightning's observer watch nobody: it kills the first process as soon as another has ended, in mid-sentence.

    Lightning has no way to say so; of threads of another make nothing is touched.
    """
    for thread in threading.enumerate():
        if thread.name == "child-process-observer" and hasattr(thread, "_child_processes"):
            thread._child_processes = []


class Watch:
    """Keeps an eye on the other processes, as a context: what everyone is doing, who has gone, whose stack to show.

    Every process says in a file of the run folder where it is. When a collective operation fails, the files tell who did not
    come; a process of this host is asked for its stack and then killed.

    Args:
        team: the processes.
        folder: where to leave the files.
        timeout: of collective operations, in seconds.
    """

    def __init__(self, team: Team, folder: Path, timeout: float) -> None:
        self.team = team
        self.folder = folder
        self.beat = max(0.2, min(5.0, timeout / 10))
        self.doing = "starting"
        self._ended = threading.Event()
        self._stack: Any = None

    def __enter__(self) -> Watch:
        if self.team.size > 1:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stack = self._file("stack", self.team.rank).open("w")
            faulthandler.register(signal.SIGUSR2, self._stack, all_threads=True)
            self._say()
            threading.Thread(target=self._run, daemon=True, name="team-watch").start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._stack is not None:
            faulthandler.unregister(signal.SIGUSR2)
            self._stack.close()
            for kind in ("rank", "stack"):
                with contextlib.suppress(OSError):  # another process tidies up too
                    self._file(kind, self.team.rank).unlink()
            with contextlib.suppress(OSError):  # the others still have theirs there
                self.folder.rmdir()

    def failed(self, error: Exception) -> bool:
        """Whether an error means that other processes do not answer."""
        return self.team.size > 1 and any(part in str(error) for part in COMMUNICATION)

    def post_mortem(self, error: Exception) -> int:
        """Say who did not answer and what they were doing, end those of them that this host has, and the process.

        Never returns: after a failed collective operation PyTorch may wait for ever on the way out.
        """
        _dismiss_observer()
        lines = [f"error: {' '.join(str(error).split())[:300]}"]
        for rank in range(self.team.size):
            if rank != self.team.rank:
                lines += self._inquire(rank)
        lines.append("everything that was saved is whole: go on with run.resume=auto\n")
        os.write(2, "\n".join(lines).encode())
        signals.kill_children()
        os._exit(exits.REQUEUE)

    def _inquire(self, rank: int) -> list[str]:
        file = self._file("rank", rank)
        try:
            facts = json.loads(file.read_text())
            age = time.time() - file.stat().st_mtime
        except (FileNotFoundError, ValueError):
            return [f"process {rank} has left"]
        silent = age > 3 * self.beat
        name = f"process {rank} (pid {facts['pid']} on {facts['host']})"
        if facts["host"] != socket.gethostname():
            return [f"{name} was last {facts['doing']}" + (f"; silent for {age:.0f} s" if silent else "")]
        try:
            os.kill(facts["pid"], signal.SIGCONT)  # a process that was stopped can say nothing
            os.kill(facts["pid"], signal.SIGUSR2)
        except ProcessLookupError:
            return [f"{name} is dead; it was last {facts['doing']}"]
        time.sleep(0.5)
        stack = self._file("stack", rank).read_text() if self._file("stack", rank).exists() else ""
        with contextlib.suppress(ProcessLookupError):  # it has just gone by itself
            os.kill(facts["pid"], signal.SIGKILL)
        what = f"was silent for {age:.0f} s" if silent else "did not come"
        return [f"{name} {what}; it was last {facts['doing']}; its stack:", *stack.splitlines()]

    def _file(self, kind: str, rank: int) -> Path:
        return self.folder / f"{kind}-{rank}"

    def _say(self) -> None:
        file = self._file("rank", self.team.rank)
        aside = file.with_suffix(".part")
        aside.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "doing": self.doing}))
        aside.replace(file)

    def _run(self) -> None:
        parent = self.team.launched
        while not self._ended.wait(self.beat):
            if parent is not None and os.getppid() != int(parent):
                os.write(2, f"process {self.team.rank}: the first process is gone, leaving\n".encode())
                signals.kill_children()
                os._exit(exits.REQUEUE)
            with contextlib.suppress(FileNotFoundError):  # the run is over and its first process has tidied up
                self._say()
