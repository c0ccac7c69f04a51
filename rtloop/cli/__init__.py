"""All that prints: the commands, the terminal, what `check` says."""
