"""Sound as values and files: samples, resampling, reading and writing, the ``Audio`` value, pictures; no model code."""
