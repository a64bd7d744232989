"""The command line: one file a verb, each a thin cover of the task objects."""
