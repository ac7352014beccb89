"""How far a fit can be trusted: measures of each section, outlier sections, mixtures of specimens."""
