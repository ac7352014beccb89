"""From scanned in situ hybridisation sections of a brain to expression in brain structures.

import pipeline
results = pipeline.run(pipeline.load_config(path), [series], output, reference)
run = pipeline.open_run(output / "71717084")
index = pipeline.open_index(folder)
"""

import sys

if sys.platform == "win32":  # the locks of files, among others, are those of POSIX
    sys.exit("ish: Windows is not supported; it runs in WSL, the Windows Subsystem for Linux")

# isort: off
from pipeline.system import compiled_cache

# isort: on
from pipeline.inputs.config import load_config
from pipeline.runs.api import RunOptions, open_run, run
from pipeline.search.index import open_index

__all__ = ["RunOptions", "compiled_cache", "load_config", "open_index", "open_run", "run"]
