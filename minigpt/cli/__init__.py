"""The `minigpt` command: data on stdout, talk on stderr, exit codes 0 to 4."""
