"""What goes wrong and can be helped: one line each, saying expected, got, where, what to do.

Every class is also the built-in that a caller would catch without knowing this package.
"""


class PipelineError(Exception):
    """The root: whatever this package raises on purpose."""


class ConfigError(PipelineError, ValueError):
    """A configuration key, value or command option that cannot be used."""


class DataError(PipelineError, ValueError):
    """An image, manifest, reference or grid that is not what it should be."""


class AlignmentError(PipelineError, RuntimeError):
    """An alignment that is missing, impossible or outside the accepted range."""


class MissingResultError(PipelineError, FileNotFoundError):
    """An output was asked for that no finished run has written."""


class Stopped(BaseException):
    """The run was told to end; not an Exception, so that no border takes it for a fault."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
