"""``python -m antiphon``: the command line."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # python -m puts the current folder first on the path, where a file called token.py would stand in for the library's
    if sys.path and not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    from antiphon.cli.app import main

    main()
