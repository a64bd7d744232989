"""Checkpoints: finding, reading and writing the files that models live in."""
