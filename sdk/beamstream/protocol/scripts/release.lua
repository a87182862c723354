-- Let payloads of the memory tier go, oldest first: names them and counts them; the caller deletes them afterwards.
--
-- KEYS[1] index  stream
-- KEYS[2] state  hash
-- ARGV  last message id that may go, most messages to name, 1 where somebody has not read them (counted as dropped)
--
-- Returns a flat list: id, header, id, header, … of the payloads to delete.

local cursor = redis.call('HGET', KEYS[2], 'released_entry') or '0-0'
local freed_bytes, n_dropped, reply = 0, 0, {}

local entries = redis.call('XRANGE', KEYS[1], '(' .. cursor, ARGV[1], 'COUNT', tonumber(ARGV[2]))
if #entries == 0 then return reply end
for _, entry in ipairs(entries) do
  local position = parts(entry[1])
  local fields = as_map(entry[2])
  if fields.h and not fields.p then
    freed_bytes = freed_bytes + struct.unpack('>I8', string.sub(fields.h, 10, 17))
    n_dropped = n_dropped + 1
    reply[#reply + 1] = fields.i or text(position)
    reply[#reply + 1] = fields.h
  end
end
local last = entries[#entries][1]
redis.call('HSET', KEYS[2], 'released_entry', last, 'released', text(parts(last) + 1))
if freed_bytes > 0 then redis.call('HINCRBY', KEYS[2], 'memory_bytes', -freed_bytes) end
if ARGV[3] == '1' and n_dropped > 0 then redis.call('HINCRBY', KEYS[2], 'n_dropped', n_dropped) end
return reply
