"""The workstation: recordings in, detectors fitted and judged, run folders out. Runs from the checkout."""
