-- Let messages go that are older than a stream is kept: index entries from its beginning, and what groups know of them.
-- What a group had not acknowledged is counted for it.
--
-- KEYS[1] index  stream
-- KEYS[2] state  hash    expired: position up to which all has gone; n_expired, expired_bytes: how much that was
-- KEYS[3] late   hash
-- then three for each group: its hash, delayed, dead
-- ARGV[1] age  messages with an older timestamp go [ms since 1970]
-- ARGV[2]      most entries to let go
-- then the groups, in the same order
--
-- The first entry that is younger stays, and all behind it; so does the end of the stream, and of one that keeps all what
-- is not on disk yet.
--
-- Returns the number of entries, then a flat list id, header, … of the payloads to delete; -1 where there are other
-- groups than those named.

local index, state, late = KEYS[1], KEYS[2], KEYS[3]
local limit_ms, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local PAGE = 1000

local groups = {}
for i = 3, #ARGV do
  groups[ARGV[i]] = {about = KEYS[3 * i - 5], delayed = KEYS[3 * i - 4], dead = KEYS[3 * i - 3]}
end
local n_known, n_there = #ARGV - 2, 0
if redis.call('EXISTS', index) == 0 then return {0} end
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', index)) do
  local found = as_map(flat)
  if not groups[found.name] then return {-1} end
  groups[found.name].position = found['last-delivered-id']
  n_there = n_there + 1
end
if n_there ~= n_known then return {-1} end

-- What is old enough, as far as it goes without a gap. A header has its time [ns] behind 17 bytes.
local old, messages, ids = {}, {}, {}
local keeps_all = redis.call('HGET', state, 'keep') == 'all'
local spilled = redis.call('HGET', state, 'spilled_entry') or '0-0'
for _, entry in ipairs(redis.call('XRANGE', index, '-', '+', 'COUNT', most)) do
  local fields = as_map(entry[2])
  if fields.k == 'e' or (keeps_all and behind(entry[1], spilled)) then break end
  if fields.h then
    if #fields.h < 25 or struct.unpack('>I8', string.sub(fields.h, 18, 25)) / 1000000 >= limit_ms then break end
    messages[entry[1]] = fields
    ids[entry[1]] = tonumber(fields.i) or (parts(entry[1]))
  end
  old[#old + 1] = entry[1]
end
-- A gap goes with the message behind it, so that whoever comes to that one is told what is missing before it.
while #old > 0 and not messages[old[#old]] do old[#old] = nil end
if #old == 0 then return {0} end
local last = old[#old]
local n, bytes = messages[last].n, messages[last].b

local function miss(group, first_id, last_id, count)
  if count == 0 then return end
  redis.call('HINCRBY', group.about, 'n_expired', count)
  redis.call('HSETNX', group.about, 'expired_first', text(first_id))
  redis.call('HSET', group.about, 'expired_last', text(last_id))
  redis.call('HINCRBY', group.about, 'expired_n', count)
end

for name, group in pairs(groups) do
  local count, lowest, highest = 0, math.huge, 0
  local function note(entry_id)
    if not messages[entry_id] then return end
    count = count + 1
    lowest, highest = math.min(lowest, ids[entry_id]), math.max(highest, ids[entry_id])
  end
  while true do
    local page = redis.call('XPENDING', index, name, '-', last, PAGE)
    if #page == 0 then break end
    local command = {'XACK', index, name}
    for _, pending in ipairs(page) do
      note(pending[1])
      command[#command + 1] = pending[1]
      redis.call('ZREM', group.delayed, pending[1])
    end
    redis.call(unpack(command))
  end
  if behind(last, group.position) then
    for _, entry_id in ipairs(old) do
      if behind(entry_id, group.position) then note(entry_id) end
    end
    redis.call('XGROUP', 'SETID', index, name, last)
  end
  miss(group, lowest, highest, count)
end

-- Of a dataset several parts may have come late, each with an entry of its own.
local function forget_late(id, entry_id)
  local left = {}
  for one in string.gmatch(redis.call('HGET', late, id) or '', '%S+') do
    if one ~= entry_id then left[#left + 1] = one end
  end
  if #left > 0 then redis.call('HSET', late, id, table.concat(left, ' ')) else redis.call('HDEL', late, id) end
end

local released = redis.call('HGET', state, 'released_entry') or '0-0'
local freed_bytes, reply = 0, {#old}
for _, entry_id in ipairs(old) do
  local fields = messages[entry_id]
  if fields then
    if fields.i then forget_late(fields.i, entry_id) end
    if not fields.p and behind(entry_id, released) then
      freed_bytes = freed_bytes + struct.unpack('>I8', string.sub(fields.h, 10, 17))
      reply[#reply + 1] = text(ids[entry_id])
      reply[#reply + 1] = fields.h
    end
  end
end
local position, number = parts(last)
redis.call('XTRIM', index, 'MINID', '=', text(position) .. '-' .. text(number + 1))
redis.call('HSET', state, 'expired', text(position), 'n_expired', n, 'expired_bytes', bytes)
if behind(last, released) then
  redis.call('HSET', state, 'released_entry', last, 'released', text(position + 1))
  if freed_bytes > 0 then redis.call('HINCRBY', state, 'memory_bytes', -freed_bytes) end
end
return reply
