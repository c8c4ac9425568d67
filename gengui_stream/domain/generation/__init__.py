"""One generation: its state, its fold, its commands, and the jobs that a transition creates."""
