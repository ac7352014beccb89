"""Configuration: defaults, overrides, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import CONFIG

from pipeline.core.errors import ConfigError
from pipeline.inputs.config import (
    Config,
    config_path,
    find_config,
    load_config,
    load_config_file,
    reference_directory,
)

CONFIGS = CONFIG.parent


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
        ("a: [", [], r"c.yaml: line 1 \(.a: \[.\): expected YAML"),
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


def test_only_the_phantom_needs_no_reference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ISH_REFERENCE", raising=False)
    for path in sorted(CONFIGS.glob("*.yaml")):
        config = load_config(path)
        assert reference_directory(config, tmp_path) == tmp_path
        if path.stem == "phantom":
            assert reference_directory(config, None) is None
        else:
            with pytest.raises(ConfigError, match=r"--reference DIR.*`ish reference fetch`"):
                reference_directory(config, None)


def test_ready_configurations_are_found_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coronal.yaml").write_text("")
    (tmp_path / "nissl").mkdir()
    assert find_config(Path("coronal")).samefile(CONFIGS / "coronal.yaml")
    assert find_config(Path("nissl")).samefile(CONFIGS / "nissl.yaml")
    assert find_config(Path("coronal.yaml")) == Path("coronal.yaml")
    for name in ("coronl", "coronl.yaml", "x" * 300, "a/b"):
        with pytest.raises(ConfigError, match="ready ones are coronal, nissl, phantom, sagittal"):
            find_config(Path(name))


def test_a_file_of_ones_own_is_meant_where_a_folder_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coronal").write_text("gridding: {smoothing_um: 150}\n")
    assert find_config(config_path("./coronal")) == tmp_path / "coronal"
    assert find_config(config_path("coronal")).samefile(CONFIGS / "coronal.yaml")


def test_lists_need_no_brackets() -> None:
    config_file = load_config_file(
        None, ["sweep.gridding.smoothing_um=100,200", "cluster.job_extra=--gres=gpu:1,b"]
    )
    assert config_file.sweep == {"gridding.smoothing_um": (100, 200)}
    assert config_file.cluster.job_extra == ("--gres=gpu:1,b",)


def test_an_empty_section_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("gridding:\n  # smoothing_um: 100\n")
    assert load_config(tmp_path / "c.yaml") == Config()


def test_messages_stay_short_and_name_the_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--set: cluster\.cores: .* got 0"):
        load_config_file(None, ["cluster.cores=0"])
    with pytest.raises(ConfigError, match="unknown key x") as caught:
        load_config(None, ["x" * 5000 + "=1"])
    assert len(str(caught.value)) < 400
