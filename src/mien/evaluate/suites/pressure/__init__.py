"""The pressure suite: users who break the character, doubt facts, and turn questions round."""
