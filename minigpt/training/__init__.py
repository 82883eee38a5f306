"""Training: one readable loop, and the small objects that keep branches out of it."""
