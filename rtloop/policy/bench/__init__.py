"""How long a policy takes: first run, warm, cold caches, in the loop, in each version of its models."""
