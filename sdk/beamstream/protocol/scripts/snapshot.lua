-- Tell everything about a stream's groups, as it is at one moment: what a server that is started anew has to be told.
--
-- KEYS[1] index  stream
-- KEYS[2] newest hash
-- then three for each group: its hash, delayed, dead
-- ARGV  the groups, in the same order
--
-- Returns the hash newest, and for each group that is there: name, last delivered entry, hash, delayed (entry, due [ms]),
-- dead, pending (entry, member, idle [ms], deliveries).

local PAGE = 1000
local groups = {}
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local group = as_map(flat)
    groups[group.name] = group['last-delivered-id']
  end
end

local function pending(group)
  local all, from = {}, '-'
  while true do
    local page = redis.call('XPENDING', KEYS[1], group, from, '+', PAGE)
    for _, one in ipairs(page) do all[#all + 1] = one end
    if #page < PAGE then return all end
    from = '(' .. page[#page][1]
  end
end

local reply = {redis.call('HGETALL', KEYS[2])}
for i, group in ipairs(ARGV) do
  if groups[group] then
    local k = 3 * i
    reply[#reply + 1] = {group, groups[group], redis.call('HGETALL', KEYS[k]),
      redis.call('ZRANGE', KEYS[k + 1], 0, -1, 'WITHSCORES'), redis.call('HGETALL', KEYS[k + 2]), pending(group)}
  end
end
return reply
