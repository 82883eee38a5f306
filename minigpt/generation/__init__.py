"""Text from a model: how a token is chosen, what computes the logits, ids to text."""
