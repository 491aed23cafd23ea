"""Play stories from the command line: `python -m simulation --help`."""

import sys

from simulation import telling
from simulation.runner import BOOK

if __name__ == "__main__":
    sys.exit(telling.main(BOOK))
