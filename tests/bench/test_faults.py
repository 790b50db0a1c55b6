"""The tables of faults: what is counted, and that the side-by-side comparison can tell good from bad."""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks.checkpoints import FabricSave, Ours, TorchSave, closed_folder, flips, full_disk
from benchmarks.faults import collect, table


def test_the_same_sentences_are_counted_together(tmp_path: Path) -> None:
    entries = [("F10", "b", 1), ("F2", "a", 3), ("F2", "a", 4), ("F2", "z", 1)]
    lines = [json.dumps({"fault": f, "what": w, "trials": n, "test": "t"}) for f, w, n in entries]
    (tmp_path / "record").write_text("\n".join(lines))
    found = collect(tmp_path / "record")
    assert list(found.items()) == [("F2", [("a", 7), ("z", 1)]), ("F10", [("b", 1)])]
    assert table(found).splitlines()[2] == "| F2 | a | 7 |"


def test_what_the_three_ways_do(tmp_path: Path) -> None:
    """Also what is known of the others: if they mend it, the comparison has to say so."""
    found = {}
    for kind in (TorchSave, FabricSave, Ours):
        way, root = kind(4), tmp_path / kind.name
        root.mkdir()
        found[kind.name] = (full_disk(way, root), flips(way, root, 10, random.Random(0)))
    assert found["torch.save"] == ("said, the last one LOST", "0/10 seen")
    assert found["Fabric.save"] == ("said, the last one whole", "0/10 seen")
    assert found["worldjepa"] == ("said, the last one whole", "10/10 seen")
    assert closed_folder(Ours(1), tmp_path / "worldjepa") == "said"
