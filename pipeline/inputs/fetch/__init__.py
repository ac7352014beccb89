"""Downloads: reference spaces and experiments."""
