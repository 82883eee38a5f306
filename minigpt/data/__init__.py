"""From archives to documents, and from documents to batches of tokens."""
