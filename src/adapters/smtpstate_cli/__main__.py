"""``python -m smtpstate_cli`` is ``smtpstate``."""

from __future__ import annotations

import sys

from smtpstate_cli import main

if __name__ == "__main__":
    sys.exit(main())
