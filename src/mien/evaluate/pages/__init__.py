"""The evaluation told to people: an HTML page, a table for the terminal, a document of all voices."""
