"""A page on this machine that shows what a classifier makes of a text, and what small changes make of it."""
