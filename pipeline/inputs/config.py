"""Configuration of a run: a YAML file with only what differs from the defaults; unknown keys are refused."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipeline.core.did_you_mean import hint
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.package import CHECKOUT, PACKAGE
from pipeline.core.reference_space import LABELS
from pipeline.formats.manifests.yaml_text import parse_yaml
from pipeline.inputs.fetch.brainglobe import ATLAS_NAME, PREFIX, fetch_atlas
from pipeline.system.files import read_text, shown

LONGEST_PATH = 300  # characters of a missing file's path in a message
PHANTOM = "phantom"  # name of the built-in reference
MOST_BYTES = 1 << 20  # largest configuration file, bytes
CONFIGS = PACKAGE / "configs", CHECKOUT / "configs"  # of an installed package; of a checkout

Model = TypeVar("Model", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _reference_name(name: str) -> str:
    if name != PHANTOM and not ATLAS_NAME.fullmatch(name):
        raise ValueError(f"expected {PHANTOM}, or {PREFIX}NAME such as {PREFIX}allen_mouse_25um")
    return name


class ReferenceConfig(_Section):
    """Reference space: a directory, which overrides the name; the phantom or a BrainGlobe atlas by name."""

    name: Annotated[str, AfterValidator(_reference_name)] | None = Field(
        default=None, description="phantom, the built-in brain, or brainglobe:NAME, an atlas by its name"
    )
    directory: Path | None = Field(
        default=None, description="reference folder; --reference and ISH_REFERENCE take precedence"
    )
    resolution_um: float | None = Field(
        default=None, gt=0, le=400, description="voxel size of the annotation; null: the finest there"
    )


class SeriesConfig(_Section):
    """Subset of the series: rows 0, n, 2n … of the sorted manifest take part."""

    section_step: int = Field(
        default=1, ge=1, le=2**31 - 1, description="take every n-th section of the manifest"
    )


class AlgorithmConfig(_Section):
    """An algorithm chosen by name, with its parameters."""

    name: str = Field(description="name of the algorithm")
    configuration: dict[str, Any] = Field(default_factory=dict, description="parameters of the algorithm")


class DetectionConfig(AlgorithmConfig):
    """The detector; its parameters may be given without its name."""

    name: str = Field(default="adaptive", description="the detector")


class AlignmentConfig(AlgorithmConfig):
    """The aligner, and whether series of one specimen share an alignment."""

    name: str = Field(
        default="joint",
        description="the aligner: joint and template start from the images, given takes an alignment over",
    )
    together: bool = Field(
        default=True, description="series of one specimen that lie in one run share an Alignment3d"
    )


class GriddingConfig(_Section):
    """The 200 um grid: smoothing of the sums of pixels, and missing tissue."""

    smoothing_um: float = Field(
        default=200.0, ge=0, le=2000, description="standard deviation of the smoothing within sections"
    )
    z_smoothing_um: float = Field(
        default=140.0, ge=0, le=2000, description="standard deviation of the smoothing across sections"
    )
    find_missing_tissue: bool = Field(
        default=True, description="look for missing tissue; false: only what the manifest names"
    )


class UnionizeConfig(_Section):
    """Labels of the 200 um grid: derived from the annotation, or as served."""

    grid_annotation: Literal["derived", "served"] = Field(default="derived", description=LABELS)


class UncertaintyConfig(_Section):
    """Intervals of structures' values; `intervals: false` leaves their columns out."""

    intervals: bool = Field(default=True, description="write the columns of 90 % intervals")


class Config(_Section):
    """All settings that affect the numbers of a run."""

    reference: ReferenceConfig = ReferenceConfig()
    series: SeriesConfig = SeriesConfig()
    detection: DetectionConfig = DetectionConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    gridding: GriddingConfig = GriddingConfig()
    unionize: UnionizeConfig = UnionizeConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()


def _listed(value: Any) -> Any:
    """Take a single string as a list of one: a line of shell code may hold commas."""
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class ClusterConfig(_Section):
    """Cluster settings of a site: how jobs are requested; none of them affects a number."""

    cores: int = Field(default=1, ge=1, description="cores of a job")
    memory: str = Field(default="4GB", description="memory of a job; a worker has memory / processes of it")
    processes: int = Field(default=1, ge=1, description="workers of a job")
    walltime: str = Field(default="04:00:00", description="time limit of a job, hours:minutes:seconds")
    queue: str | None = Field(default=None, description="partition; null: the site's default")
    account: str | None = Field(default=None, description="account that the time is charged to")
    interface: str | None = Field(default=None, description="network card that all nodes share, such as ib0")
    host: str | None = Field(default=None, description="address at which workers reach this machine")
    python: str | None = Field(default=None, description="Python of the workers; null: that of this run")
    local_directory: Path | None = Field(default=None, description="scratch folder of a node")
    log_directory: Path | None = Field(
        default=None, description="folder for the logs of the jobs; null: here"
    )
    job_extra: Texts = Field(default=(), description="further #SBATCH lines, such as --qos=long")
    prologue: Texts = Field(default=(), description="shell lines before the worker starts")


@dataclass(frozen=True)
class ConfigFile:
    """Content of a configuration file.

    Attributes
    ----------
    config : Config
        All settings that affect numbers.
    sweep : mapping of str to tuple
        Values to sweep over, by dotted key.
    cluster : ClusterConfig
        Cluster settings.
    """

    config: Config
    sweep: Mapping[str, tuple[Any, ...]]
    cluster: ClusterConfig


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply `dotted.key=value` overrides.

    Parameters
    ----------
    path : Path or None
        The file, or the name of a ready configuration; None: the defaults.
    overrides : sequence of str
        Values that take precedence over the file.

    Returns
    -------
    Config
        The configuration.

    Raises
    ------
    ConfigError
        Where the file is missing or not YAML, a key is unknown (the message suggests the nearest), or a value
        is out of range.
    """
    return load_config_file(path, overrides).config


def load_config_file(path: Path | None, overrides: Sequence[str] = ()) -> ConfigFile:
    """Read a YAML file with its sections `sweep` and `cluster`, and apply overrides.

    Parameters
    ----------
    path : Path or None
        The file, or the name of a ready configuration; None: the defaults.
    overrides : sequence of str
        `dotted.key=value`; these take precedence over the file.

    Returns
    -------
    ConfigFile
        Configuration, sweep and cluster settings.

    Raises
    ------
    ConfigError
        As of `load_config`.
    """
    document = {} if path is None else read_document(find_config(path))
    for override in overrides:
        _override(document, override)
    where = " with ".join([*([str(path)] if path else []), *(["--set"] if overrides else [])])
    cluster = _validated(ClusterConfig, document.pop("cluster", None) or {}, where, "cluster")
    sweep = _sweep(document.pop("sweep", None), where)
    return ConfigFile(parse_config(document, where), sweep, cluster)


def _sweep(document: Any, where: str) -> dict[str, tuple[Any, ...]]:
    """Return the values of a sweep by dotted key; keys may be nested or dotted."""
    if document is None:
        return {}
    found: dict[str, tuple[Any, ...]] = {}
    pending = [("", document)]
    while pending:
        prefix, node = pending.pop(0)
        if isinstance(node, dict) and node:
            pending = [
                (f"{prefix}.{key}" if prefix else str(key), child) for key, child in node.items()
            ] + pending
        elif isinstance(node, list) and node and prefix:
            if len({repr(value) for value in node}) < len(node):
                raise ConfigError(f"{where}: sweep.{prefix}: a value is listed twice")
            if prefix in found:
                raise ConfigError(f"{where}: sweep.{prefix}: the key is given twice, nested and dotted")
            found[prefix] = tuple(node)
        else:
            key = f"sweep.{prefix}" if prefix else "sweep"
            raise ConfigError(
                f"{where}: {key}: expected a list of values for each dotted key, got {shown(node)}"
            )
    return found


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the nested document that overrides describe.

    Parameters
    ----------
    overrides : sequence of str
        Each `dotted.key=value`; a value is YAML.

    Returns
    -------
    dict
        Keys and values, nested.

    Raises
    ------
    ConfigError
        Where an override has another form.
    """
    document: dict[str, Any] = {}
    for override in overrides:
        _override(document, override)
    return document


def parse_config(document: Mapping[str, Any], where: str) -> Config:
    """Check a document against the schema of a configuration.

    Parameters
    ----------
    document : mapping of str
        Sections and their values; an empty section means its defaults.
    where : str
        Name of the source, for the message.

    Returns
    -------
    Config
        The configuration.

    Raises
    ------
    ConfigError
        Where a key is unknown or a value is not valid.
    """
    return _validated(Config, _filled(document), where)


def _filled(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without empty sections: one whose lines are all comments reads as None."""
    known = {
        key: value for key, value in document.items() if key not in Config.model_fields or value is not None
    }
    for name, section in known.items():
        if isinstance(section, dict) and section.get("configuration", ...) is None:
            known[name] = {key: value for key, value in section.items() if key != "configuration"}
    return known


def _validated(model: type[Model], document: Any, where: str, section: str = "") -> Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(error, model, section)}") from None


def reference_directory(config: Config, given: Path | None) -> Path | None:
    """Return the reference folder: the option, else ISH_REFERENCE, else the configured one.

    A BrainGlobe atlas that is configured by its name is downloaded where it is not there.

    Parameters
    ----------
    config : Config
        Configuration of the run.
    given : Path or None
        Folder given as an option.

    Returns
    -------
    Path or None
        The folder; None: the phantom.

    Raises
    ------
    ConfigError
        Where none of these is given and the configuration names neither the phantom nor an atlas at hand.
    """
    environment = os.environ.get("ISH_REFERENCE")
    directory = given or (Path(environment) if environment else config.reference.directory)
    name = config.reference.name
    if directory is None and name is not None and name != PHANTOM:
        return fetch_atlas(name)
    if directory is None and name is None:
        raise ConfigError(
            "no reference: expected --reference DIR, ISH_REFERENCE or reference.directory, got none;"
            " `ish reference fetch` brings Allen's CCFv3, reference.name=phantom is a made-up brain for tests"
        )
    return directory


def config_path(text: str) -> Path:
    """Return the path of a configuration as typed; Path alone would drop the folder of `./coronal`.

    Parameters
    ----------
    text : str
        Path or name, as typed.

    Returns
    -------
    Path
        Absolute where the text is a bare name behind `./`, so that `find_config` takes it for a file.

    Examples
    --------
    >>> config_path("./coronal").is_absolute(), config_path("coronal")
    (True, PosixPath('coronal'))
    """
    path = Path(text)
    return path.absolute() if os.sep in text and len(path.parts) == 1 else path


def find_config(name: Path) -> Path:
    """Return the configuration file that a user means: a path, or the bare name of a ready configuration.

    A file of the user's own with the name of a ready one must be given with its suffix or a folder:
    `./coronal`, which `config_path` keeps.

    Parameters
    ----------
    name : Path
        Path or bare name.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        Where there is no such file and no such ready configuration.

    Examples
    --------
    >>> find_config(Path("coronal")).name
    'coronal.yaml'
    """
    ready = _ready() if len(name.parts) == 1 and not name.suffix else {}
    if name.name in ready:
        return ready[name.name]
    if os.path.lexists(name):  # False, not an error, for a name that is too long
        return name
    raise ConfigError(
        f"{str(name)[:LONGEST_PATH]}: no such configuration; ready ones are"
        f" {', '.join(sorted(_ready()))}, or name a file"
    )


def _ready() -> dict[str, Path]:
    """Return the ready configurations by name."""
    return {
        path.stem: path for folder in CONFIGS if folder.is_dir() for path in sorted(folder.glob("*.yaml"))
    }


def read_document(path: Path) -> dict[str, Any]:
    """Read a configuration file as it is written.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        Keys and values; nothing is checked.

    Raises
    ------
    ConfigError
        Where it is no YAML with keys and values.
    """
    if path.is_dir():
        raise ConfigError(
            f"{path}: expected a configuration (YAML), got a folder; a series is given as --input {path}"
        )
    try:
        document = parse_yaml(read_text(path, "a configuration (YAML)", MOST_BYTES), str(path))
    except DataError as error:
        raise ConfigError(str(error)) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(document).__name__}")
    return document


def _override(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {shown(override)}: expected dotted.key=value")
    try:
        value = parse_yaml(text, f"--set {shown(override)}")
    except DataError as error:
        raise ConfigError(str(error)) from None
    if key.strip().startswith("sweep.") and not isinstance(value, list | dict):
        value = _values(text)
    with_value(document, key.strip(), value, f"--set {shown(override)}")


def _values(text: str) -> list[Any]:
    """Return the values of a list written without brackets, which some shells take for a pattern.

    >>> _values("100, 200")
    [100, 200]
    """
    return [parse_yaml(part, "--set") for part in text.split(",")]


def with_value(document: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set the value of a dotted key in a nested document, in place.

    Parameters
    ----------
    document : dict
        Nested keys and values; receives the value.
    key : str
        Dotted key.
    value : object
        The value.
    where : str
        Name of the source, for the message.

    Raises
    ------
    ConfigError
        Where a part of the key before the last is a value, not a section.
    """
    *parents, last = key.split(".")
    node = document
    for parent in parents:
        if node.get(parent) is None:  # absent, or a section whose lines are all comments
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            raise ConfigError(f"{where}: {parent} is a value, not a section")
    node[last] = value


def _explain(error: ValidationError, model: type[BaseModel], section: str) -> str:
    """Return the first validation error as one line; an unknown key comes with the nearest known one."""
    first = error.errors()[0]
    parts = [section] * bool(section) + [
        shown(p).strip("'") if isinstance(p, str) else str(p) for p in first["loc"]
    ]
    where = ".".join(parts)
    if first["type"] == "extra_forbidden":
        *parents, last = first["loc"]
        return f"unknown key {where}; {hint(last, _keys(model, parents))}"
    if first["type"] in ("model_type", "dict_type"):
        return f"{where}: expected keys and values, got {shown(first['input'])}"
    return f"{where}: {first['msg']}, got {shown(first['input'])}"


def _keys(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """Return the known keys of the section at a location of the schema."""
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)
