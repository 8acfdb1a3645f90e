"""The top layer: may import everything, and nothing imports it.

bench/       detectors compared on labelled data, by `python -m training bench`
drift.py     what it costs in missed slow faults to live with drift
demo.py      the main job from end to end, on a simulated pump or a recording
broker.py    a real MQTT broker for as long as it is needed
feeder.py    a pseudo-terminal that speaks like a sensor on a serial port
"""
