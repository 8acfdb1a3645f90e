"""Where a stream's bundles live on disk, and how one replaces another."""
