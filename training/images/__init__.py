"""Images: folders in, detectors of defects in them, and a graph each from a frame to a score and a map of the frame."""

import os

# Read by OpenCV when it is loaded. What the user has set stays. The limit refuses a picture that would unpack to
# gigabytes before it does (2^28 pixels take 0.8 GB); unreadable files are told by our own messages.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
