#!lua
-- Do nothing, and be refused for it where the server's memory is full, as a command that writes would be.
--
-- KEYS[1] payload  string: what would be written
--
-- Returns 1.

return 1
