"""One brain matched with another: affine first, then elastic, by what both show."""
