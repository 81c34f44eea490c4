"""`python -m kmatrix`."""

import sys

from kmatrix.cli import main

sys.exit(main())
