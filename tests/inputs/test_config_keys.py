"""Every key of a configuration is described, and the description agrees with what a run takes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import CONFIG, TESTS

from pipeline.core.errors import ConfigError
from pipeline.detection import DETECTORS
from pipeline.inputs.config import Config, load_config, load_config_file, parse_config
from pipeline.inputs.config_keys import PLACED_BY_HAND, aligner_keys, config_keys, config_schema
from pipeline.inputs.config_values import commented_file, config_values
from pipeline.registration import ALIGNERS
from pipeline.runs.sweep import check_config
from pipeline.stages.aligner_options import PLACED

CONFIGS = CONFIG.parent
VALID = jsonschema.Draft202012Validator(config_schema())
DOCUMENTS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"gridding": None}, True),
    ({"detection": {"configuration": None}}, True),
    ({"gridding": {"smoothing_um": 150}}, True),
    ({"gridding": {"smoothing_um": -1}}, False),
    ({"gridding": {"smothing_um": 150}}, False),
    ({"griding": {}}, False),
    ({"detection": {"configuration": {"contrast": 9.5}}}, True),
    ({"detection": {"configuration": {"contrast": 0.5}}}, False),
    ({"detection": {"configuration": {"threshold": 100}}}, False),
    ({"detection": {"name": "global", "configuration": {"threshold": 100}}}, True),
    ({"detection": {"name": "global", "configuration": {"contrast": 9}}}, False),
    ({"detection": {"name": "adaptve"}}, False),
    ({"alignment": {"configuration": {"trust": ["plane"], "deformable": "volume"}}}, True),
    ({"alignment": {"configuration": {"outline_sigma_um": [300, 200]}}}, True),
    ({"alignment": {"configuration": {"outline_sigma_um": [0, 200]}}}, False),
    ({"alignment": {"configuration": {"deformable": "planes"}}}, False),
    ({"alignment": {"configuration": {"path": "alignment.json"}}}, False),
    ({"alignment": {"name": "given", "configuration": {"path": "alignment.json"}}}, True),
    ({"alignment": {"name": "given", "configuration": {"strain": 0.1}}}, False),
    ({"reference": {"resolution_um": 0}}, False),
    ({"unionize": {"grid_annotation": "served"}}, True),
    ({"uncertainty": {"intervals": "perhaps"}}, False),
    ({"cluster": {"cores": 0}}, False),
    ({"cluster": {"job_extra": "--qos=long"}}, True),
    ({"sweep": {"detection.configuration.contrast": [6, 8]}}, True),
]


@pytest.mark.parametrize(("document", "right"), DOCUMENTS, ids=lambda d: json.dumps(d))
def test_the_schema_takes_what_a_run_takes(document: dict[str, Any], right: bool, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(document))
    assert VALID.is_valid(document) is right
    try:
        check_config(load_config_file(path))
    except ConfigError:
        assert not right
    else:
        assert right


def test_the_schema_is_one_and_lies_beside_the_configurations(monkeypatch: pytest.MonkeyPatch) -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())
    monkeypatch.syspath_prepend(str(TESTS.parent / "workflows"))
    for name, text in importlib.import_module("write_configs").files().items():
        assert (CONFIGS / name).read_text(encoding="utf-8") == text, "python workflows/write_configs.py"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_ready_configurations_hold_every_key_and_name_the_schema(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    first, *lines = text.splitlines()
    assert (path.parent / first.removeprefix("# yaml-language-server: $schema=")).is_file()
    VALID.validate(yaml.safe_load(text))
    # With each comment of a key taken for the key, the file says the same, and says it all.
    every = [line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line for line in lines[2:]]
    whole = yaml.safe_load("\n".join(every))
    VALID.validate(whole)
    named = {f"{s}.{k}" for s, part in whole.items() for k in part} - {
        "detection.configuration",
        "alignment.configuration",
    }
    named |= {f"{s}.configuration.{k}" for s in ("detection", "alignment") for k in whole[s]["configuration"]}
    assert named == {key.key for key in config_keys()}
    del whole["cluster"]
    for section in ("detection", "alignment"):
        del whole[section]["configuration"]
    assert parse_config(whole, "all") == load_config(path)


@pytest.mark.parametrize("name", ["sweep.yaml", "slurm/run.yaml"])
def test_configurations_of_workflows_name_the_schema_and_follow_it(name: str) -> None:
    path = TESTS.parent / "workflows" / name
    text = path.read_text(encoding="utf-8")
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == CONFIGS / "schema.json"
    VALID.validate(yaml.safe_load(text))


@pytest.mark.parametrize("name", DETECTORS)
def test_every_parameter_of_a_detector_has_a_text(name: str) -> None:
    keys = [key for key in config_keys(detector=name) if key.key.startswith("detection.configuration.")]
    assert keys
    assert all(len(key.text) > 10 and "As for" not in key.text for key in keys)


@pytest.mark.parametrize("name", ["given", *ALIGNERS])
def test_every_option_of_an_aligner_has_a_text(name: str) -> None:
    assert all(len(schema["description"]) > 10 for schema in aligner_keys(name).values())
    assert set(PLACED_BY_HAND) == set(PLACED)


def test_values_say_where_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "gridding: {smoothing_um: 150}\ncluster: {cores: 4}\n"
        "sweep: {detection: {configuration: {contrast: [6, 8]}}}\n"
    )
    found = {v.key.key: v for v in config_values(path, ["alignment.name=given", "gridding.smoothing_um=90"])}
    assert (found["gridding.smoothing_um"].value, found["gridding.smoothing_um"].source) == (90, "--set")
    assert (found["cluster.cores"].value, found["cluster.cores"].source) == (4, str(path))
    assert (found["gridding.z_smoothing_um"].value, found["gridding.z_smoothing_um"].source) == (
        140,
        "default",
    )
    assert found["gridding.smoothing_um"].key.unit == "um"
    assert found["sweep.detection.configuration.contrast"].value == [6, 8]
    assert found["alignment.configuration.path"].value is None
    assert "alignment.configuration.strain" not in found


def test_a_file_with_comments_loads_as_what_it_was_made_from(tmp_path: Path) -> None:
    config = parse_config(
        {
            "detection": {"name": "global", "configuration": {"threshold": 99}},
            "gridding": {"find_missing_tissue": False},
        },
        "test",
    )
    path = tmp_path / "c.yaml"
    path.write_text(commented_file(["A head"], config, "schema.json"), encoding="utf-8")
    assert load_config(path) == config
    path.write_text(commented_file(["A head"], Config(), "schema.json"), encoding="utf-8")
    assert load_config(path) == Config()
