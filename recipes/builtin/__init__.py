"""The built-in models: their music, their training."""
