"""One generation: its state, its fold, the jobs that a state calls for."""
