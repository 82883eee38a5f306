"""Where a version came from, and which versions a text went into."""
