-- Say who serves a stream's segments, where they are still the same ones.
--
-- KEYS[1] state  hash
-- ARGV  folder that the segments lie in, endpoint ('': nobody)
--
-- Returns 1 where it was said.

if redis.call('HGET', KEYS[1], 'spill_folder') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'spill_fetch', ARGV[2])
return 1
