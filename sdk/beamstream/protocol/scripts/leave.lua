-- Let a member leave its group: whatever the server thinks it holds is due for the others at once, then its name is
-- removed. Removing a name that still holds messages would lose them.
--
-- KEYS, ARGV[1], ARGV[2]  as in group.lua
-- ARGV  member, then the entries that nobody has tried: their last delivery does not count
--
-- Returns the number of messages parked.

local member, n_parked = ARGV[3], 0
local untried = {}
for i = 4, #ARGV do untried[ARGV[i]] = true end

while true do
  local page = redis.call('XPENDING', index, group, '-', '+', PAGE, member)
  if #page == 0 then break end
  for _, pending in ipairs(page) do
    local entry_id, n = pending[1], pending[4]
    if untried[entry_id] then n = math.max(0, n - 1) end
    park(entry_id, n, now_ms)
    -- What is not in the index any more cannot be parked, and must not keep this loop going.
    if n_deliveries(entry_id, member) then redis.call('XACK', index, group, entry_id) end
  end
  n_parked = n_parked + #page
end
redis.call('XGROUP', 'DELCONSUMER', index, group, member)
return n_parked
