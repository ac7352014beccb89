"""What is done to a rendered series beside cutting and staining it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pipeline.core.errors import ConfigError

LEAST = {"light_gain": 1e-3, "gamma": 1e-3, "warp_scale_um": 100.0, "shape_scale_um": 100.0}
MOST = {"missing": 0.9, "uneven_light": 0.5, "stain_gain": 0.9, "texture": 1.0}


@dataclass(frozen=True)
class RenderOptions:
    """Everything is off but sensor noise and faint cells; numbers per section are means of a Poisson draw.

    Parameters
    ----------
    seed : int                  of everything that differs from section to section, stain included
    specimen_seed : int | None  of the brain's shape (series cut from one brain share it); None = `seed`
    noise : float               sensor noise, standard deviation, grey levels
    faint_cells : float         factor on the number of faint cells that do not express
    stain_gain : float          tissue stain of a section x (1 +- this), uniform
    texture : float             standard deviation of the stain inside structures, smooth over 100-300 um
    extra_rotation_deg, extra_shift_um : float   unknown pose of each section, uniform within +- this, about
                                the middle of its image; not in the alignment that the series gives
    warp_um, warp_scale_um      smooth displacement in the plane of each section, r.m.s. length and scale
    shape_um, shape_scale_um    coherent 3-D displacement of the whole brain, r.m.s. length and scale
    missing : float             fraction of the sections without an image
    uneven_light : float        the light varies by +- this fraction over the image
    light_gain, gamma : float   luma = 255 (gain luma / 255) ** gamma
    bubbles, tears, dust, losses, folds : float   number a section: bubbles, white gaps, specks, lost pieces,
                                tissue that lies over itself
    bands : float               number a section of bands of solid expression, 150 um wide
    sense : bool                control probe: no cell expresses
    """

    seed: int = 0
    specimen_seed: int | None = None
    noise: float = 2.0
    faint_cells: float = 1.0
    stain_gain: float = 0.0
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
