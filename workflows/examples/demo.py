"""The demo: a phantom series through the whole pipeline, held against its truth; the same as `ish demo`.

python workflows/examples/demo.py [OUTPUT] [--alignment given]
"""

from __future__ import annotations

import sys

from pipeline.cli import main

if __name__ == "__main__":
    sys.argv = ["ish", "demo", *sys.argv[1:]]
    main()
