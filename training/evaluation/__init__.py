"""How good a detector is: figures from labelled data, never point-adjusted."""
