-- Put dead letters back into their group's delivery, due at once, with attempts from 1 again.
--
-- KEYS, ARGV[1], ARGV[2]  as in group.lua
-- ARGV  entry ids
--
-- Returns those that were put back; a letter whose message is not in the index stays where it is.

local position
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', index)) do
  local found = as_map(flat)
  if found.name == group then position = found['last-delivered-id'] end
end

local done = {}
for i = 3, #ARGV do
  local entry_id = ARGV[i]
  if redis.call('HEXISTS', dead, entry_id) == 1 and #redis.call('XRANGE', index, entry_id, entry_id) == 1 then
    -- What the group has still before it comes by itself.
    if not behind(entry_id, position) then park(entry_id, 0, now_ms) end
    redis.call('HDEL', dead, entry_id)
    redis.call('HINCRBY', about, 'n_dead', -1)
    done[#done + 1] = entry_id
  end
end
return done
