"""Images on the workstation: folders in, a pretrained backbone, detectors that are one graph each."""
