"""The command `ish`: thin; every verb calls the package."""

from pipeline.cli.main import main

__all__ = ["main"]
