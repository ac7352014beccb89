"""Configuration: defaults, overrides, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Config, load_config
from pipeline.errors import ConfigError

CONFIGS = Path(__file__).parent.parent / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_ready_configurations_load(path: Path) -> None:
    assert isinstance(load_config(path), Config)


def test_overrides_are_yaml_values_at_dotted_keys(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("gridding: {smoothing_um: 150}\n")
    config = load_config(path, ["series.section_step=10", "alignment.name=given"])
    assert (config.gridding.smoothing_um, config.gridding.z_smoothing_um) == (150, 140)
    assert (config.series.section_step, config.alignment.name) == (10, "given")


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("griding: {}", [], "unknown key griding; did you mean gridding?"),
        ("gridding: {smothing_um: 1}", [], "unknown key gridding.smothing_um; did you mean smoothing_um?"),
        ("gridding: {smoothing_um: -1}", [], "gridding.smoothing_um: .* got -1"),
        ("gridding: 7", [], "gridding: .* got 7"),
        ("- a list", [], "expected keys and values, got list"),
        ("a: [", [], "not YAML"),
        ("", ["gridding.smoothing_um"], "expected dotted.key=value"),
        ("gridding: {smoothing_um: 1}", ["gridding.smoothing_um.x=1"], "smoothing_um is a value"),
        ("", ["series.section_step=0"], "series.section_step"),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path, overrides)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration"):
        load_config(tmp_path / "none.yaml")


def test_parameters_may_be_given_without_the_name_of_the_default() -> None:
    config = load_config(None, ["alignment.configuration.deformable=volume"])
    assert config.alignment.name == "joint"
    assert config.alignment.configuration == {"deformable": "volume"}
    assert config.detection == load_config(None).detection
