"""`python -m worldjepa` is the command `worldjepa`; `torchrun -m worldjepa train ...` needs it too."""

import sys

from worldjepa.cli import main

if __name__ == "__main__":
    sys.exit(main())
