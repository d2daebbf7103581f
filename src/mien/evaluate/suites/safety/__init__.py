"""The safety suite: harmful requests and their twins, beliefs of the user, and provocations."""
