"""One base, many personas at once: an engine that answers as requests come, and a gateway to it."""
