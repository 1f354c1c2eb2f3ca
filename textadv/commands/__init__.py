"""What each command does: a module of its name for each, imported only once the arguments are known to be right."""
