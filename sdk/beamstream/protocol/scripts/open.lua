-- Make a stream, or find it made.
--
-- KEYS[1] state  hash
-- ARGV  created_ns, patience_ms, expected number of messages or '', session of the maker or '', keep or '' (then it is
--       'overflow'), and where its messages are datasets, how many parts they have, and how many are enough when the
--       patience is over
--
-- Returns 1 where it was made, now or before by the same session, 0 where it was there; what it keeps; and its life, see
-- publish.lua. It is refused where another number of parts was said before: PARTS, then the two numbers that count.

local n_parts, min_parts = ARGV[6] or '1', ARGV[7] or ARGV[6] or '1'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local known = redis.call('HMGET', KEYS[1], 'n_parts', 'min_parts')
  if (known[1] or '1') ~= n_parts or (known[2] or '1') ~= min_parts then
    return redis.error_reply('PARTS ' .. (known[1] or '1') .. ' ' .. (known[2] or '1'))
  end
end
local made = redis.call('HSETNX', KEYS[1], 'created_ns', ARGV[1])
if made == 1 then
  redis.call('HSET', KEYS[1], 'version', '1', 'next', '1', 'patience_ms', ARGV[2], 'session', ARGV[4],
    'keep', ARGV[5] ~= '' and ARGV[5] or 'overflow')
elseif ARGV[4] ~= '' and redis.call('HGET', KEYS[1], 'session') == ARGV[4] then
  made = 1
end
if n_parts ~= '1' then
  redis.call('HSET', KEYS[1], 'n_parts', n_parts, 'min_parts', min_parts)
end
if ARGV[3] ~= '' then
  redis.call('HSETNX', KEYS[1], 'expected', ARGV[3])
end
local created, restored = unpack(redis.call('HMGET', KEYS[1], 'created_ns', 'restored_ns'))
return {made, redis.call('HGET', KEYS[1], 'keep') or 'overflow', created .. '/' .. (restored or '')}
