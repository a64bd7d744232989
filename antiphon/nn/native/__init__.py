"""Small kernels of our own for what decoding does most, compiled on the machine they run on."""
