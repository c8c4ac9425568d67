"""Whether a process lives: what it knows of itself, and the port where it says so."""
