"""Decoding a batch in which every row has its own persona, settings and seed, one step at a time."""
