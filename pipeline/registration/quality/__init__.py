"""How far a fit is to be trusted, section by section."""
