"""One HTML page about a recording."""
