"""A quadruped that walks in MuJoCo by a policy that was trained on it."""
