"""Observers of a ring: reader, statistics, summary."""
