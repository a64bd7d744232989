"""Layers: tensors in, tensors out. Nothing here knows a model, a config or a file."""
