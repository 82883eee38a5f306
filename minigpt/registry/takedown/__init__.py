"""Take a document out, and prove it."""
