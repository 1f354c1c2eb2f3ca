"""How fast this machine is, how fast we are on it, and how fast a plain implementation is beside us."""
