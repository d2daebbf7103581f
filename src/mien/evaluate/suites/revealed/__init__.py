"""The revealed suite: adjectives that a system takes for better descriptions of itself."""
