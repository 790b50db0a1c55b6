"""An environment of its own for lightly and stable-pretraining, to be measured beside.

    python -m benchmarks.peers peers            # then: python -m benchmarks.efficiency --peers peers/bin/python
    python -m benchmarks.peers peers --uv uv    # the same by uv, which is faster

Their versions are those that the tables were made with, PyTorch's and timm's those of this environment. Nothing of theirs comes
into this one.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = ("lightly==1.6.0", "stable-pretraining==0.1.8")
SAME = ("torch", "torchvision", "timm", "numpy")


def wanted() -> list[str]:
    """What to install."""
    return [*PACKAGES, *(f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in SAME)]


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def make(folder: Path, uv: str) -> None:
    """Make the environment and see that it can be used.

    Raises:
        subprocess.CalledProcessError: a package cannot be had.
    """
    python = python_of(folder)
    if uv:
        subprocess.run([uv, "venv", "--python", sys.executable, "--allow-existing", str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--python", str(python), *wanted()], check=True)
    else:
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", *wanted()], check=True)
    subprocess.run([str(python), "-c", "import lightly.models.modules, stable_pretraining.methods"], check=True)


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--uv", default="", help="the program uv, to install with")
    options = parser.parse_args()
    make(options.folder, options.uv)
    print(f"python -m benchmarks.efficiency --peers {python_of(options.folder)}")


if __name__ == "__main__":
    main()
