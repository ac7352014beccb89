"""Write configs/*.yaml, with every key, and configs/schema.json anew from the models.

python workflows/write_configs.py
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.inputs.config import Config, parse_config
from pipeline.inputs.config_keys import config_schema
from pipeline.inputs.config_values import commented_file

CONFIGS = Path(__file__).parents[1] / "configs"
HOW = "`ish run --set`, or a copy of this file, changes what you name: remove the # before a key."
HEADS = {
    "coronal": ("A coronal ISH series of the mouse brain, both hemispheres. Give --reference.", HOW),
    "sagittal": ("A sagittal ISH series of one hemisphere. Give --reference.", HOW),
    "nissl": ("A Nissl series: the alignment counts. Every cell is stained, so a mask means little.", HOW),
    "phantom": ("The phantom brain, which needs no file: the demo and the tests.", HOW),
}
VALUES = {"phantom": {"reference": {"name": "phantom"}}}


def files() -> dict[str, str]:
    """Return the text of every file by its name."""
    texts = {"schema.json": json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"}
    for name, head in HEADS.items():
        config = parse_config(VALUES.get(name, {}), name) if name in VALUES else Config()
        texts[f"{name}.yaml"] = commented_file(head, config, "schema.json")
    return texts


def main() -> None:
    """Write all files."""
    for name, text in files().items():
        (CONFIGS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
