"""The adapters that exist: the card of each, and how to find the one that is wanted."""
