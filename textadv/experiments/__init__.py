"""Grids of experiments: what is planned, what is finished, and what the figures come to."""
