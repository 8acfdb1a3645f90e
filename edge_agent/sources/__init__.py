"""Readings and frames in: serial port, recording, simulated pump, standard input; cameras, videos, images, a scene.

`settings.make_source` makes any source of readings, `frame_settings.make_frame_source` any of frames.
"""
