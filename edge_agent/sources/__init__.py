"""Readings in: serial port, recording, simulated pump, standard input.

`settings.make_source` makes any of them.
"""
