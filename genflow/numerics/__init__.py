"""How numbers are computed and memory is spent; what is computed does not depend on it."""
