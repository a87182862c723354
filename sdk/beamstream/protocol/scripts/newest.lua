-- Give the newest message of a stream, each at most once to a group.
--
-- KEYS[1] index  stream
-- KEYS[2] newest hash   group -> id of the last entry given to it
-- ARGV  group, or '' for a caller who remembers himself; entry id that such a caller has seen
--
-- Returns the entry, or nothing where there is no newer one.

local LOOK_BACK = 64 -- gap and end entries that may stand above the newest message

local group, seen = ARGV[1], ARGV[2]
if group ~= '' then seen = redis.call('HGET', KEYS[2], group) or '0-0' end
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', LOOK_BACK)) do
  local is_message = true
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'k' then is_message = false end
  end
  if is_message then
    if not behind(entry[1], seen) then return {} end
    if group ~= '' then redis.call('HSET', KEYS[2], group, entry[1]) end
    return entry
  end
end
return {}
