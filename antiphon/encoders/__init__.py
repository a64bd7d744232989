"""Encoders of the conditions: text today, sound later."""
