"""Evaluation: what is heard in sounds, measured, and reports of it."""
