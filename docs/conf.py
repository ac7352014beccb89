"""Sphinx: the documentation, built offline with `make docs`."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from generated import write_pages  # noqa: E402  it lies beside this file

project = "ish-pipeline"
author = "The authors of ish-pipeline"
project_copyright = author
release = version_of("ish-pipeline")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_*"]
nitpicky = True
smartquotes = False  # they make one dash of the two of an option
# Types in docstrings are words such as `(n, 3) float64, um`, and in signatures names of other libraries.
nitpick_ignore_regex = [("py:.*", ".*")]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]  # the order of the gallery is a function, which cannot be kept

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings tell shape and unit
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
copybutton_line_continuation_character = "\\"

sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "workflows" / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r".*\.py",
    "ignore_pattern": r"demo\.py",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "abort_on_example_error": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,  # its page loads scripts from elsewhere
    "remove_config_comments": True,
    "copyfile_regex": "",
    "plot_gallery": "ISH_DOCS_WITHOUT_EXAMPLES" not in os.environ,
    "image_scrapers": ("matplotlib",),
    "default_thumb_file": str(HERE / "images" / "grid.png"),
}

html_theme = "furo"
html_title = f"ish-pipeline {release}"
html_static_path: list[str] = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}


def setup(app: Any) -> None:
    """Write the pages that follow from the code before any page is read."""
    write_pages(HERE / "reference")
