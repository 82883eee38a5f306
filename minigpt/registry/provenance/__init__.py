"""What a version was made from, in the words of others' tools, and signed."""
