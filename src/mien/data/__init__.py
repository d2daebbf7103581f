"""What is learnt from: the built-in parallel corpus, the file formats, and proof of their quality."""
