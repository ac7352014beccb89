"""Options of a rendered series beside its cut and its expression."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pipeline.core.errors import ConfigError

# Accepted range of each option; 0 to infinity for those that are not listed.
LEAST = {"light_gain": 1e-3, "gamma": 1e-3, "warp_scale_um": 100.0, "shape_scale_um": 100.0}
MOST = {
    "missing": 0.9,
    "uneven_light": 0.5,
    "stain_gain": 0.9,
    "texture": 1.0,
    "expression_gain": 1.0,
    "expression_wander": 1.0,
}


@dataclass(frozen=True)
class RenderOptions:
    """Options of the renderer; by default everything is off except sensor noise and faint cells.

    Counts per section are means of a Poisson distribution.

    Attributes
    ----------
    seed : int
        Seed of everything that differs between sections, and of the stain.
    specimen_seed : int or None
        Seed of the brain's shape, shared by series cut from one brain; None takes `seed`.
    noise : float
        Standard deviation of the sensor noise, grey levels.
    faint_cells : float
        Factor on the number of faint cells, which do not express.
    stain_gain : float
        The tissue stain of a section is multiplied by 1 +- this at most, uniformly distributed.
    expression_gain : float
        Standard deviation of the logarithm of a factor on the expression of a section; its mean is 1.
    texture : float
        Standard deviation of the stain inside structures, as a fraction, smooth over 100-300 um.
    extra_rotation_deg : float, degrees
        Bound of the unknown rotation of each section about the middle of its image, uniformly distributed;
        the alignment that the series provides does not contain it.
    extra_shift_um : float, um
        Bound of the unknown shift of each section along x and y, as for `extra_rotation_deg`.
    warp_um : float, um
        R.m.s. length of a smooth displacement in the plane of each section.
    warp_scale_um : float, um
        Length scale of that displacement.
    shape_um : float, um
        R.m.s. length of a coherent 3-D displacement of the whole brain.
    shape_scale_um : float, um
        Length scale of that displacement.
    missing : float
        Fraction of the sections without an image.
    uneven_light : float
        The light varies by +- this fraction over the image.
    light_gain : float
        Factor on the light: luma = 255 (light_gain x luma / 255) ** gamma.
    gamma : float
        Exponent of the same formula.
    bubbles : float
        Bubbles per section.
    tears : float
        White gaps per section.
    dust : float
        Specks per section.
    losses : float
        Lost pieces per section.
    folds : float
        Folds per section, where tissue lies over itself.
    bands : float
        Bands of solid expression per section, 150 um wide.
    expression_wander : float
        Standard deviation of the logarithm of a factor on the expression within a section, smooth over 3 mm;
        its mean is 1.
    sense : bool
        Control probe: no cell expresses.
    """

    seed: int = 0
    specimen_seed: int | None = None
    noise: float = 2.0
    faint_cells: float = 1.0
    stain_gain: float = 0.0
    expression_gain: float = 0.0
    texture: float = 0.0
    extra_rotation_deg: float = 0.0
    extra_shift_um: float = 0.0
    warp_um: float = 0.0
    warp_scale_um: float = 1500.0
    shape_um: float = 0.0
    shape_scale_um: float = 2500.0
    missing: float = 0.0
    uneven_light: float = 0.0
    light_gain: float = 1.0
    gamma: float = 1.0
    bubbles: float = 0.0
    tears: float = 0.0
    dust: float = 0.0
    losses: float = 0.0
    folds: float = 0.0
    bands: float = 0.0
    expression_wander: float = 0.0
    sense: bool = False

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not (value is None and item.name == "specimen_seed"):
                _check(item.name, value)

    @property
    def shape_seed(self) -> int:
        """Seed of what belongs to the brain, not to the series."""
        return self.seed if self.specimen_seed is None else self.specimen_seed


def _check(name: str, value: object) -> None:
    """Raise ConfigError for a value of the wrong kind or out of range."""
    if name == "sense":
        if not isinstance(value, bool):
            raise ConfigError(f"phantom: expected true or false for sense, got {value!r}")
        return
    kinds = (int,) if name.endswith("seed") else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        what = "a whole number" if kinds == (int,) else "a number"
        raise ConfigError(f"phantom: expected {what} for {name}, got {value!r}")
    least, most = LEAST.get(name, 0.0), MOST.get(name, float("inf"))
    if not least <= value <= most:
        raise ConfigError(f"phantom: expected {name} from {least:g} to {most:g}, got {value}")
