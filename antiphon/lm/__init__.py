"""Language models over token streams."""
