"""Observation and action terms: one class each, in a file of its family.

A kind of observation term is chosen by the key that names it (``input:``, ``previous_action:``),
registers where it is written (``term.TERMS``) and is found by being in this folder.
"""
