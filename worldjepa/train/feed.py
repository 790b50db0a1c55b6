"""Brings the samples from workers to the training loop, whatever happens to a worker or a sample.

A sample that cannot be read is replaced by another one, chosen by (seed, epoch, sample) alone, so that the order of all others
stays what it is. Every worker notes in shared memory which sample it is at and since when. If one hangs or dies, all workers
are replaced and begin again at the batch that is due; the sample is tried once more, for the fault may have been the machine's,
and then avoided.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from worldjepa.data import Observations
from worldjepa.data.views import View, stacked
from worldjepa.errors import Unreadable, UserError
from worldjepa.train import exits, signals
from worldjepa.train.quarantine import Bad, Kind
from worldjepa.train.stream import Batches, Ticket, generator
from worldjepa.types import Tokens

POLL = 1.0
"""Seconds between looks at workers that let themselves be waited for."""
PRELOAD = "worldjepa.train.preload"
"""What the server that starts workers imports."""
SUBSTITUTES = 100
"""How many samples in a row may be unreadable before the data count as unreadable."""


class Sample(NamedTuple):
    """One observation, or None if no sample could be read; and what could not be read on the way to it."""

    obs: View | None
    bad: list[Bad]


class Loaded(NamedTuple):
    """The observations of one forward pass `[batch_size, *shape]`, what could not be read, and what comes with them."""

    obs: Tensor | None
    bad: list[Bad]
    cond: Tokens | None = None


class Journal:
    """Which sample every worker is at, and since when: shared memory that outlives the workers.

    Args:
        workers: how many there are; 0 means the training process itself.
    """

    def __init__(self, workers: int) -> None:
        self.slots = torch.zeros(max(1, workers), 3, dtype=torch.float64)
        self._closing = torch.zeros((), dtype=torch.bool)
        for shared in (self.slots, self._closing):
            shared.share_memory_()  # type: ignore[no-untyped-call]

    def begin(self, sample: int) -> None:
        """This process starts on a sample."""
        # The clock is the system's, the same in all processes.
        self._mine().copy_(torch.tensor([os.getpid(), sample, time.monotonic()], dtype=torch.float64))

    def end(self) -> None:
        """This process is at no sample."""
        self._mine()[2] = 0.0

    @property
    def closing(self) -> bool:
        """Whether the workers are to finish as soon as they can."""
        return bool(self._closing)

    def close(self) -> None:
        """Tell the workers to finish; what they still load is not wanted."""
        self._closing.fill_(1)

    def register(self) -> None:
        """This process is there, and at no sample."""
        self._mine().copy_(torch.tensor([os.getpid(), -1, 0.0], dtype=torch.float64))

    def _mine(self) -> Tensor:
        info = get_worker_info()
        slot: Tensor = self.slots[0 if info is None else info.id]
        return slot

    @property
    def pids(self) -> list[int]:
        """The worker processes that have started."""
        return [int(pid) for pid in self.slots[:, 0] if pid]

    def longer_than(self, seconds: float) -> list[int]:
        """Samples that a worker has been at for longer."""
        now = time.monotonic()
        return [int(sample) for _, sample, since in self.slots.tolist() if since and now - since > seconds]

    def pids_longer_than(self, seconds: float) -> list[int]:
        """Workers that have been at one sample for longer."""
        now = time.monotonic()
        return [int(pid) for pid, _, since in self.slots.tolist() if since and now - since > seconds]

    def of_the_dead(self) -> list[int]:
        """Samples that a worker was at when it died."""
        return [int(sample) for pid, sample, since in self.slots.tolist() if pid and since and not _alive(int(pid))]


class Keyed(Dataset[Sample]):
    """Observations by ticket: augmentation is a function of (seed, epoch, sample).

    Args:
        observations: the training data.
        seed: the run's seed.
        avoid: samples that are known to hang or to kill.
        journal: where to note what is being read.
    """

    def __init__(
        self,
        observations: Observations,
        seed: int,
        avoid: frozenset[int] = frozenset(),
        journal: Journal | None = None,
    ) -> None:
        self.observations = observations
        self.seed = seed
        self.avoid = avoid
        self.journal = journal

    def __getitem__(self, ticket: Ticket) -> Sample:
        """The augmented observation of a ticket, or of another one in its place if its sample cannot be used."""
        if self.journal is not None and self.journal.closing:
            return Sample(None, [])
        bad: dict[int, Bad] = {}
        sample = ticket.sample
        others: torch.Generator | None = None
        for _ in range(1 + SUBSTITUTES):
            if sample not in bad and sample not in self.avoid:
                try:
                    obs = self._observe(sample, generator(self.seed, "augment", ticket.epoch, sample))
                    return Sample(obs, list(bad.values()))
                except Unreadable as error:
                    name = self.observations.name(sample)
                    bad[sample] = Bad(sample, name, "unreadable", str(error).removeprefix(f"{name}: "))
            if others is None:
                others = generator(self.seed, "substitute", *ticket)
            sample = int(torch.randint(len(self.observations), (), generator=others))
        return Sample(None, list(bad.values()))

    def _observe(self, sample: int, rng: torch.Generator) -> View:
        if self.journal is None:
            return self.observations.observe(sample, rng)
        self.journal.begin(sample)
        try:
            return self.observations.observe(sample, rng)
        finally:
            self.journal.end()


class Feed:
    """The observations of one process, forward pass by forward pass.

    Args:
        observations: the training data.
        batches: which tickets come when.
        seed: the run's seed.
        workers: processes to load with; 0 loads in this one.
        timeout: seconds after which a sample counts as hanging.
        pin: put the observations into pinned memory.
        avoid: samples that are known to hang or to kill.
        say: tells the user something.
    """

    def __init__(
        self,
        observations: Observations,
        batches: Batches,
        seed: int,
        workers: int,
        timeout: float,
        pin: bool = False,
        avoid: frozenset[int] = frozenset(),
        say: Callable[[str], None] = print,
    ) -> None:
        self.observations = observations
        self.batches = batches
        self.seed = seed
        self.workers = workers
        self.timeout = timeout
        self.pin = pin
        self.avoid = avoid
        self.say = say
        self.delivered = 0
        self.faults: Counter[int] = Counter()
        self._found: list[Bad] = []
        self._ended = threading.Event()
        self._open()
        if self.journal is not None and not workers:
            threading.Thread(target=self._guard, daemon=True, name="data-watch").start()

    def next(self, stop: Callable[[], bool] = bool) -> Loaded | None:
        """The observations of the next forward pass; None if `stop` says so while they are waited for.

        Raises:
            UserError: no sample can be read, or a worker raised it.
        """
        while not stop():
            try:
                loaded = next(self._iterator)
            except UserError as error:
                # The loader puts the worker's traceback in front of the message.
                raise type(error)(str(error).rstrip().rpartition(f"{type(error).__name__}: ")[2]) from error
            except RuntimeError as error:
                # So the loader tells that no batch came for POLL seconds, or that a worker is gone.
                if not str(error).startswith(("DataLoader timed out", "DataLoader worker (pid")):
                    raise
                self._look_after_workers(died="exited unexpectedly" in str(error))
                continue
            self.delivered += 1
            found, self._found = self._found, []
            return loaded._replace(bad=found + loaded.bad)
        return None

    def close(self) -> None:
        """Let the workers go."""
        self._ended.set()
        journal = self.journal
        if journal is None or not self.workers:
            return
        journal.close()
        # Those that are stuck go first and hard; the others let go of what they share before they end.
        for pid in journal.pids_longer_than(self.timeout):
            _kill(pid)
        del self._iterator
        for pid in journal.pids:
            _kill(pid)

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> None:
        watched = self.workers or not self.observations.in_memory
        self.journal = Journal(self.workers) if watched else None
        loader: DataLoader[Sample] = DataLoader(
            Keyed(self.observations, self.seed, self.avoid, self.journal),
            batch_sampler=self.batches.after(self.delivered),
            num_workers=self.workers,
            pin_memory=self.pin,
            collate_fn=collate,
            timeout=POLL if self.workers else 0,
            worker_init_fn=Settle(self.journal) if self.journal is not None else None,
            # The workers' global generators seed nothing that we use; a fixed one keeps the loader from moving the main one.
            generator=generator(self.seed, "workers"),
            multiprocessing_context="forkserver" if self.workers else None,
            prefetch_factor=4 if self.workers else None,
        )
        # The server that starts the workers inherits what it ignores from us, and must outlive a signal to the whole group.
        with signals.ignored():
            if self.workers:
                # It imports PyTorch once, before it starts the first worker, and not once for each.
                multiprocessing.get_context("forkserver").set_forkserver_preload([PRELOAD])
                multiprocessing.forkserver.ensure_running()
        self._iterator: Iterator[Loaded] = iter(loader)

    def _look_after_workers(self, died: bool) -> None:
        """Replace the workers if one of them hangs or has died."""
        assert self.journal is not None
        hanging = self.journal.longer_than(self.timeout)
        if not hanging and not died:
            return  # they are slow, not stuck
        if died:
            time.sleep(0.1)  # until the dead are no longer counted among the living
        guilty = hanging or self.journal.of_the_dead()
        for sample in guilty:
            self._suspect(sample, "hang" if hanging else "crash")
        if not guilty:
            self.say("a data worker died between two samples; starting all workers anew")
        self.close()
        self._ended.clear()
        self._open()

    def _suspect(self, sample: int, kind: Kind) -> None:
        self.faults[sample] += 1
        name = self.observations.name(sample)
        what = f"{name} did not load within {self.timeout:g} s" if kind == "hang" else f"a data worker died at {name}"
        if self.faults[sample] < 2:
            self.say(f"{what}; starting all workers anew and trying it once more")
            return
        self.say(f"{what} again; it is avoided from now on")
        self.avoid |= {sample}
        reason = f"did not load within {self.timeout:g} s, twice" if kind == "hang" else "its worker died, twice"
        self._found.append(Bad(sample, name, kind, reason))

    def _guard(self) -> None:
        """Loading in this process cannot be broken off; say what hangs and end the process."""
        assert self.journal is not None
        while not self._ended.wait(min(POLL, self.timeout / 4)):
            for sample in self.journal.longer_than(self.timeout):
                name = self.observations.name(sample)
                line = f"error: {name} did not load within {self.timeout:g} s; with run.workers=1 it would be avoided\n"
                os.write(2, line.encode())
                os._exit(exits.REQUEUE)


class Settle:
    """Prepares a worker process: it is ours to end, and must not outlive us."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.master = os.getpid()

    def __call__(self, worker: int) -> None:
        """Run in the worker, before its first sample."""
        signals.ignore()
        signals.die_with_parent()
        threading.Thread(target=self._guard, daemon=True, name="master-watch").start()
        self.journal.register()

    def _guard(self) -> None:
        # The parent is the server that starts workers; where the kernel does not tie it to its master, this does.
        while _alive(self.master):
            time.sleep(POLL)
        os._exit(1)


def collate(samples: list[Sample]) -> Loaded:
    """Stack samples; observations are None if one of them is."""
    bad = [one for sample in samples for one in sample.bad]
    found = [sample.obs for sample in samples if sample.obs is not None]
    if len(found) < len(samples):
        return Loaded(None, bad)
    batch = stacked(found)
    assert isinstance(batch.obs, Tensor)
    return Loaded(batch.obs, bad, batch.cond)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it is gone already
        os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
