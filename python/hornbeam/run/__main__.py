"""`python -m hornbeam.run [options] script.py [arguments]`."""

import os
import sys

from .session import run
from .settings import parse

if __name__ == "__main__":
    sys.exit(run(parse(sys.argv[1:], os.environ)))
