-- Make a stream, or find it made.
--
-- KEYS[1] state  hash
-- ARGV  created_ns, patience_ms, expected number of messages or '', session of the maker or '', keep or '' (then it is
--       'overflow')
--
-- Returns 1 where it was made, now or before by the same session, 0 where it was there; and what it keeps.

local made = redis.call('HSETNX', KEYS[1], 'created_ns', ARGV[1])
if made == 1 then
  redis.call('HSET', KEYS[1], 'version', '1', 'next', '1', 'patience_ms', ARGV[2], 'session', ARGV[4],
    'keep', ARGV[5] ~= '' and ARGV[5] or 'overflow')
elseif ARGV[4] ~= '' and redis.call('HGET', KEYS[1], 'session') == ARGV[4] then
  made = 1
end
if ARGV[3] ~= '' then
  redis.call('HSETNX', KEYS[1], 'expected', ARGV[3])
end
return {made, redis.call('HGET', KEYS[1], 'keep') or 'overflow'}
