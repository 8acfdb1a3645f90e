"""One TFLite score graph behind one small class, and which graph of a bundle runs here."""
