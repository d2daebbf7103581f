"""One base, many personas at once: the engine that decodes a batch in which every row has its own."""
