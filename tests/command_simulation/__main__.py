"""Play stories from the command line: `python -m command_simulation --help`."""

import sys

from simulation import telling

from command_simulation.runner import BOOK

if __name__ == "__main__":
    sys.exit(telling.main(BOOK))
