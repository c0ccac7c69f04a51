"""A Python function in place of a model: how it is found, asked in a thread of its own, and timed."""
