"""The columns of a structure table as /ish/v1 answers them, with meanings and units."""

from __future__ import annotations

from pipeline.quantification.uncertainty.columns import INTERVAL_COLUMNS, SHARE_COLUMNS
from pipeline.service.own.schemas import INTEGER, NUMBER, TEXT, Schema, array, maybe

_GREY = "grey levels, 0 to 255"
_SHARE = "share, 0 to 1"
_ENERGY = "density × intensity, grey levels"
NOTE = "uncertainty_note"
ABOUT = {
    "structure_id": "structure",
    "hemisphere_id": "1 left, 2 right, 3 both",
    "sum_pixels": "pixels with data",
    "sum_expressing_pixels": "pixels that express",
    "sum_pixel_intensity": f"sum over pixels with data; {_GREY} each",
    "sum_expressing_pixel_intensity": f"sum over pixels that express; {_GREY} each",
    "expression_density": f"pixels that express over pixels with data; {_SHARE}",
    "expression_intensity": f"mean of pixels that express; {_GREY}",
    "expression_energy": f"of the grid; {_ENERGY}",
    "voxel_energy_mean": f"mean of the voxels with data; {_ENERGY}",
    "voxel_energy_cv": "standard deviation of the voxels' energy over its mean; no unit",
    "coverage": f"voxels with data over voxels; {_SHARE}",
    "section_density": f"of the sections, without the smoothing of the grid; {_SHARE}",
    "section_intensity": f"of the sections; {_GREY}",
    "section_energy": f"of the sections; {_ENERGY}",
    "n_sections": "sections that cut the structure",
    "own_share": f"share of the section values that lies in the structure itself; {_SHARE}",
    **{
        name: f"{end} end of the 90 % interval; {_ENERGY if 'energy' in name else _SHARE}"
        for name, end in ((name, name.rsplit("_", 1)[1]) for name in INTERVAL_COLUMNS)
    },
    **{
        name: f"share of the interval's variance that {name.rsplit('_', 1)[1]} causes; {_SHARE}"
        for name in SHARE_COLUMNS
    },
    NOTE: "why an interval is wide, or not calibrated; empty where there is nothing to say",
}  # in the order of the answer
KEYS = ("structure_id", "hemisphere_id")  # in every answer
WHOLE = (*KEYS, "n_sections")


def _column(name: str) -> Schema:
    kind = TEXT if name == NOTE else INTEGER if name in WHOLE else NUMBER
    return {**array(maybe(kind)), "description": ABOUT[name]}


ANSWER: Schema = {
    "type": "object",
    "properties": {name: _column(name) for name in ABOUT},
    "required": list(KEYS),
    "additionalProperties": False,
}
