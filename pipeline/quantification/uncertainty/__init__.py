"""How far the value of a structure can be trusted: terms of its error, and intervals made of them."""
