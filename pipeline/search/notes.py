"""Notes that a search gives with its numbers."""

# Notes on voxels outside the brain that had to be compared by their codes of 8 bits.
ROUGH = (
    "{} of {} candidates: their own grids are not available; outside the brain r is computed from 8-bit"
    " codes, within {:.2g}"
)
ROUGH_SEED = "the seed's own grid is not available; outside the brain it is compared by its 8-bit codes"
# Note on the ranges of ranks.
RANKS = (
    "ranges of ranks: where an experiment may stand when each fold change is off by its 90 % error, taken"
    " from the typical error of the experiment's structures (sqrt 2 x), not from that of the structures asked"
    " for;"
    " {} of {} experiments state no error and count as exact"
)
