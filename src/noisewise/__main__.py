"""`python -m noisewise` is the command `noisewise`."""

import sys

from noisewise.cli import main

if __name__ == "__main__":
    sys.exit(main())
