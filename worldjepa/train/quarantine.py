"""The list of samples that cannot be used: each once, with the reason, in `quarantine.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from worldjepa.errors import UserError

FILE = "quarantine.jsonl"

Kind = Literal["unreadable", "hang", "crash"]


class Bad(NamedTuple):
    """A sample that cannot be used."""

    sample: int
    name: str
    kind: Kind
    reason: str


class Quarantine:
    """Collects bad samples and says when there are too many.

    Args:
        file: where they are listed; those of an earlier start of the same run are read back.
        samples: how many samples the data have.
        most: share of the samples seen so far that may be bad.
        writes: whether this process writes the file.
    """

    def __init__(self, file: Path, samples: int, most: float, writes: bool) -> None:
        self.file = file
        self.samples = samples
        self.most = most
        self.writes = writes
        self.listed: dict[int, Bad] = {}
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.endswith("}"):  # the last line may have been cut short
                    bad = Bad(**json.loads(line))
                    self.listed[bad.sample] = bad

    @property
    def avoided(self) -> frozenset[int]:
        """Samples not to be tried again, for each try costs a worker process."""
        return frozenset(sample for sample, bad in self.listed.items() if bad.kind != "unreadable")

    def add(self, found: Iterable[Bad]) -> int:
        """List samples that are not listed yet; return how many those are."""
        new = {bad.sample: bad for bad in found if bad.sample not in self.listed}
        self.listed |= new
        if new and self.writes:
            with self.file.open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps(bad._asdict(), ensure_ascii=False) + "\n" for bad in new.values())
        return len(new)

    def check(self, seen: int) -> None:
        """Stop when there are too many.

        Args:
            seen: samples that training has asked for so far, each counted once.

        Raises:
            UserError: names some of them and the file that lists all.
        """
        # A few samples are no evidence of a share: until 200 have been seen, as many bad ones are let pass as then would be.
        allowed = self.most * max(min(seen, self.samples), min(self.samples, 200))
        if len(self.listed) > allowed:
            raise too_many(list(self.listed.values()), min(seen, self.samples), self.most, self.file)


def too_many(bad: list[Bad], seen: int, most: float, file: Path | None) -> UserError:
    """The error for data with too many unusable samples."""
    told = "; ".join(f"{one.name} ({one.reason})" for one in bad[:5])
    rest = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    where = "" if file is None else f", all listed in {file}"
    return UserError(
        f"{len(bad)} of {max(seen, len(bad))} samples cannot be used, more than data.max_bad_fraction={most} allows: "
        f"{told}{rest}{where}. Repair or remove them, or raise data.max_bad_fraction"
    )
