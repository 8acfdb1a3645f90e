"""Images on the workstation: folders in, a pretrained backbone, detectors that are one graph each."""

from edge_agent.contract.opencv import opencv

# Before any other import of OpenCV, which reads its limits when it is loaded: what unpacks to gigabytes is refused.
opencv()
