"""Sound files and sounds by the names that audiocraft gives them."""
