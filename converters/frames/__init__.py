"""From a run of images to a bundle for a camera; the counterpart of what the other converters do for readings."""
