"""Whether a personality holds: measurements with intervals against base and null, and their report."""
