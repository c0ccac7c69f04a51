"""Observation and action terms: one class each, in a file of its family."""
