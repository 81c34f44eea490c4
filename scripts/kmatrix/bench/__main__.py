"""`python -m kmatrix.bench`."""

import sys

from kmatrix.bench.command import main

sys.exit(main())
