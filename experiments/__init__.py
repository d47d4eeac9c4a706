"""Commands that train, evaluate and sample, and what they share."""
