-- Say that somebody reads a stream: its index stays on the server for a while.
--
-- KEYS[1] state  hash
--
-- Returns 1, or 0 where there is no such stream.

if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local clock = redis.call('TIME')
redis.call('HSET', KEYS[1], 'read_ms', clock[1] .. string.format('%03d', math.floor(tonumber(clock[2]) / 1000)))
return 1
