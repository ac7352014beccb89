"""Where sections lie, in the files of this and other programs."""
