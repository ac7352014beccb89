"""The command `ish`: thin; every verb calls the package."""

import sys

if sys.platform == "win32":  # the locks of files, among others, are those of POSIX
    sys.exit("ish: Windows is not supported; it runs in WSL, the Windows Subsystem for Linux")

from pipeline.cli.main import main

__all__ = ["main"]
