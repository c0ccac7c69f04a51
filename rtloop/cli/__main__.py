"""``python -m rtloop.cli``: the command line without its script."""

import sys

from rtloop.cli.main import main

sys.exit(main())
