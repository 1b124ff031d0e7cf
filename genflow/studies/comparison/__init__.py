"""Models × data sets × seeds under one equal budget: trials, their outcomes, the board."""
