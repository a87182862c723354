-- Give the newest message of a stream, each at most once to a group.
--
-- KEYS[1] index  stream
-- KEYS[2] newest hash   group -> id of the last entry given to it
-- KEYS[3] state  hash   newest_entry: the last message, however many gaps stand above it
-- ARGV  group, or '' for a caller who remembers himself; entry id that such a caller has seen
--
-- Returns the entry, or nothing where there is no newer one.

local LOOK_BACK = 64 -- entries above the newest message, where the state does not name it

local group, seen = ARGV[1], ARGV[2]
if group ~= '' then seen = redis.call('HGET', KEYS[2], group) or '0-0' end
local known = redis.call('HGET', KEYS[3], 'newest_entry')
local entries = known and redis.call('XRANGE', KEYS[1], known, known)
  or redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', LOOK_BACK)
for _, entry in ipairs(entries) do
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
