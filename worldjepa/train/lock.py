"""One writer per run folder."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from worldjepa.errors import Busy, UserError

NAME = ".lock"
BEAT = 10.0
"""Seconds between signs of life on file systems without locks."""
STALE = 60.0
"""Seconds without a sign of life after which such a lock counts as left behind."""

_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


class RunLock:
    """Holds a run folder for this process, as a context. The folder is made if need be, and unmade if it stays empty.

    The operating system lets the lock go when its holder dies, however it dies. Where the file system knows no locks, a
    file that exists and is touched every `BEAT` seconds takes their place; it is taken over when its holder is dead, or
    after `STALE` seconds without a touch.

    Args:
        folder: the run folder.
        key: the word that names it on the command line.

    Raises:
        Busy: another process holds it; the message names the process.
        UserError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, key: str = "run.out") -> None:
        self.folder, self.key = folder, key
        self.file = folder / NAME
        self._descriptor: int | None = None
        self._made: list[Path] = []
        self._ended = threading.Event()

    def __enter__(self) -> RunLock:
        try:
            self._make_folder()
            if not self._by_system():
                self._by_lease()
        except OSError as error:
            self._unmake()
            raise UserError(f"{self.key}={self.folder} cannot be written: {error.strerror or error}") from error
        except Busy:
            self._unmake()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        with contextlib.suppress(FileNotFoundError):  # someone removed the whole folder
            self.file.unlink()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._unmake()

    def _make_folder(self) -> None:
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._made = missing

    def _unmake(self) -> None:
        for path in self._made:
            try:
                path.rmdir()
            except OSError:  # it is not empty, or somebody was faster
                return

    def _by_system(self) -> bool:
        """Lock with the operating system's means; False where the file system has none."""
        while True:
            descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise self._busy() from None
            except OSError as error:
                os.close(descriptor)
                if error.errno not in _UNSUPPORTED:
                    raise
                return False
            if self._current(descriptor):
                break
            os.close(descriptor)  # the holder before us removed the file between our opening and our locking it
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _signature())
        self._descriptor = descriptor
        return True

    def _current(self, descriptor: int) -> bool:
        try:
            return os.stat(self.file).st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False

    def _by_lease(self) -> None:
        """Lock by the existence of a file that is kept fresh."""
        draft = self.file.with_name(f"{NAME}.{uuid.uuid4().hex}")
        draft.write_bytes(_signature())
        try:
            for _ in range(3):
                try:
                    os.link(draft, self.file)  # fails if the file exists, on network file systems too
                    threading.Thread(target=self._beat, daemon=True, name="run-lock").start()
                    return
                except FileExistsError:
                    self._evict()
            raise self._busy()
        finally:
            draft.unlink()

    def _evict(self) -> None:
        """Move a stale lock out of the way.

        Raises:
            Busy: it is fresh.
        """
        try:
            seen = self.file.read_bytes()
            age = time.time() - self.file.stat().st_mtime
        except FileNotFoundError:
            return
        if seen and age < STALE and not _dead(seen):
            raise self._busy()
        aside = self.file.with_name(f"{NAME}.{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            self.file.rename(aside)
            if aside.read_bytes() != seen:  # what we moved is somebody's fresh lock: put it back
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self.file)
            aside.unlink()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(FileNotFoundError):  # the folder was removed; the next save will say so
                os.utime(self.file)

    def _busy(self) -> Busy:
        owner = _owner(self._read())
        return Busy(
            f"{self.key}={self.folder} is being written by {owner}; wait for it, stop it, or choose another folder with "
            f"{self.key}="
        )

    def _read(self) -> bytes:
        for _ in range(20):
            try:
                seen = self.file.read_bytes()
            except FileNotFoundError:
                return b""
            if seen:
                return seen
            time.sleep(0.01)  # the winner has the lock and is about to sign it
        return b""


def held(folder: Path) -> bool:
    """Whether a process is writing a run folder, as far as can be told from outside.

    On this host the holder's process tells. Only where it is on another one is the lock tried, for a moment.
    """
    file = folder / NAME
    try:
        seen, age = file.read_bytes(), time.time() - file.stat().st_mtime
        if _parse(seen).get("host") == socket.gethostname():
            return not _dead(seen)
        with file.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return age < STALE
    return False


def _signature() -> bytes:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": now}).encode()


def _parse(seen: bytes) -> dict[str, Any]:
    try:
        value = json.loads(seen)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _owner(seen: bytes) -> str:
    facts = _parse(seen)
    if not {"host", "pid", "since"} <= facts.keys():
        return "another process"
    return f"process {facts['pid']} on {facts['host']} (since {facts['since']})"


def _dead(seen: bytes) -> bool:
    """Whether the holder is known to be dead: it was on this host and its process is gone."""
    facts = _parse(seen)
    if facts.get("host") != socket.gethostname() or not isinstance(facts.get("pid"), int):
        return False
    try:
        os.kill(facts["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
