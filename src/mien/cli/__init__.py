"""The command line: one file per verb group, each importing what it needs when it is called."""
