"""The diversity suite: variety, coherence and facts in open replies."""
