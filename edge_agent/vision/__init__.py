"""What an image or a map says beyond its score: blocks that changed, regions that stand out, objects that go on."""
