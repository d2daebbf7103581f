"""The checks of a data set, by kind of fault. `mien.data.check` runs them all over a file.

A check is a small object that is fed row by row: it keeps counts and its worst examples and never the
rows, so that a large file needs no more memory than a small one. The exceptions, which remember a few
bytes of every row to find copies, say how much and where they stop.
"""
