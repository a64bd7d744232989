"""Generation: delays, samplers, guidance, stopping and the one loop over time."""
