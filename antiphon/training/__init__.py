"""Training: objectives for each family, the data they learn from, and the loop that runs them."""
