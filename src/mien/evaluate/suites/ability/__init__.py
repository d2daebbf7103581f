"""The ability suite: questions with an answer that a program can check, content, perplexity."""
