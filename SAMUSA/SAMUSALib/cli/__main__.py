"""`python -m SAMUSALib.cli` is `samusa`."""

import sys

from .main import main

sys.exit(main())
