"""HTTP itself: the server process, connections, what a request must pass, its parameters, and answers."""
