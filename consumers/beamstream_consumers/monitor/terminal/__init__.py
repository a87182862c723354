"""A stream at a glance without a browser: a table in a terminal, a line in a log, an object for a script."""
