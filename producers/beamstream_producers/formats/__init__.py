"""Pure parsers: bytes in, messages out; no socket in sight."""
