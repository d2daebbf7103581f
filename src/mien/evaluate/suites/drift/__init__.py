"""The drift suite: long conversations, with a user who is easy and with one who pulls the other way."""
