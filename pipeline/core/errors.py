"""Errors that the user can act on, one line each: what was expected, what was found, where, the remedy.

Every class also derives from the built-in exception that a caller without knowledge of this package would
catch.
"""


class PipelineError(Exception):
    """Base class of everything that this package raises on purpose."""


class ConfigError(PipelineError, ValueError):
    """A configuration key, value or command option that cannot be used."""


class DataError(PipelineError, ValueError):
    """An image, manifest, reference or grid that is not what it should be."""


class AlignmentError(PipelineError, RuntimeError):
    """An alignment that is missing, impossible or outside the accepted range."""


class MissingResultError(PipelineError, FileNotFoundError):
    """A requested output that no finished run has written."""


class Stopped(BaseException):
    """A signal asked the run to end; not an Exception, so that no error handler mistakes it for a fault."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class OlderRunWarning(UserWarning):
    """A run was made by an earlier version: it is read, but cannot be held against checksums."""
