"""What is learnt from: the built-in parallel corpus, the file formats, and the proof of their quality."""
