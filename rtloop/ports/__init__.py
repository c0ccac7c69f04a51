"""The ports of a loop: one file a kind, with its keys, its rules and how it opens.

A kind is chosen by the key that names it (``link:``, ``mailbox:``), registers where it is written
(``port.INPUTS``, ``port.OUTPUTS``) and is found by being in this folder. Nothing outside asks which
kind a port is. Importing this folder's modules is quick: a configuration needs no device.
"""
