"""Recipes: how what is built in was made, from nothing. They stand outside the package and import it."""
