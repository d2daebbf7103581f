"""One question about a personality per module; each asks a subject and reports trials."""
