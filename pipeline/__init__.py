"""From scanned in situ hybridisation sections of a brain to expression in brain structures.

import pipeline
results = pipeline.run(pipeline.load_config(path), [series], output, reference)
run = pipeline.open_run(output / "71717084")
energy = run.grid().energy
index = pipeline.open_index(folder)

What scripts use, and where it lies, is listed once, in `__init__.pyi`; a name is imported when it is first
asked for.
"""

import sys

import lazy_loader

if sys.platform == "win32":  # the locks of files, among others, are those of POSIX
    sys.exit("ish: Windows is not supported; it runs in WSL, the Windows Subsystem for Linux")

from pipeline.core import compiled_cache  # noqa: F401  before numba

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
