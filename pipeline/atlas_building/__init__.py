"""A reference space of one's own, from serial sections, volumes and drawn plates.

Each verb of `ish reference` is a function of the same name here, imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "averaging": ["average"],
        "building": ["build"],
        "carrying": ["carry"],
        "interpolation": ["interpolate"],
        "points": ["map_points"],
        "publish": ["Publication"],
        "symmetry": ["symmetrise"],
    },
)
