"""The `minigpt` command: data on stdout, talk on stderr, exit codes 0, 1, 2 and 3."""
