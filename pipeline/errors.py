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
