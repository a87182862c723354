-- Take a batch of messages into the sequence; without messages, only settle what waits. Atomic.
--
-- KEYS  as in sequence.lua
-- ARGV[1]  1 when the batch is sent again after a lost connection: its duplicates are counted as retried
-- ARGV[2…] three per message: id, header, inline payload (its length is the header's, or there is none)
--
-- Returns next, n_held, sealed, n_received, then one status per message:
--   0 appended, 1 held until a gap closes, 2 duplicate, 3 another payload is there under this id (the first one stays),
--   4 appended late, 5 refused: beyond the last id of the finished stream, 6 duplicate whose payload has left memory

local APPENDED, HELD, DUPLICATE, CONFLICT, LATE, REFUSED, RELEASED = 0, 1, 2, 3, 4, 5, 6
local retried = ARGV[1] == '1'

if redis.call('EXISTS', state) == 0 then
  return redis.error_reply('NOSTREAM the stream was deleted')
end

-- Whether payloads up to an entry have left memory. A late message stands behind others, so its id does not say.
local function has_left(entry_id)
  local released = redis.call('HGET', state, 'released_entry')
  if not released then return false end
  local position, number = string.match(entry_id, '^(%d+)-(%d+)$')
  local last_position, last_number = string.match(released, '^(%d+)-(%d+)$')
  position, last_position = tonumber(position), tonumber(last_position)
  return position < last_position or (position == last_position and tonumber(number) <= tonumber(last_number))
end

-- What is there already, in an entry or held.
local function duplicate(header, known, entry_id)
  if checksum(known) ~= checksum(header) then
    s.n_conflict = s.n_conflict + 1
    return CONFLICT
  end
  if retried then s.n_retried = s.n_retried + 1 else s.n_duplicate = s.n_duplicate + 1 end
  if entry_id and has_left(entry_id) then return RELEASED end
  return DUPLICATE
end

local function header_at(entry_id)
  local entry = redis.call('XRANGE', index, entry_id, entry_id)[1]
  if not entry then return nil end
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'h' then return entry[2][i + 1] end
  end
end

-- A message whose place in the sequence has gone by: a duplicate, or late.
local function take_late(id, header, payload_bytes, payload)
  local key = id_text(id)
  local late_id = redis.call('HGET', late, key)
  local entry_id = late_id or (key .. '-0')
  local known = header_at(entry_id)
  if known then
    return duplicate(header, known, entry_id)
  end
  local position = s.next - 1 + s.sealed
  redis.call('HSET', late, key, append(id_text(position) .. '-*', id, header, payload_bytes, payload))
  s.n_late = s.n_late + 1
  s.n_missing = s.n_missing - 1
  return LATE
end

local function hold(id, header, payload_bytes, payload)
  local known = held_at(id)
  if known then
    return duplicate(header, cmsgpack.unpack(known)[3])
  end
  hold_message(id, header, payload_bytes, payload)
  return HELD
end

local function take(id, header, payload_bytes, payload)
  if id < s.next then
    return take_late(id, header, payload_bytes, payload)
  end
  if s.finish_since_ms > 0 and id > s.last then
    s.n_refused = s.n_refused + 1
    return REFUSED
  end
  if id > s.next then
    return hold(id, header, payload_bytes, payload)
  end
  append(id_text(id) .. '-0', nil, header, payload_bytes, payload)
  s.next = s.next + 1
  drain()
  return APPENDED
end

local reply = {0, 0, 0, 0}
for i = 2, #ARGV, 3 do
  local id, header, payload = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 2]
  local payload_bytes = payload_size(header)
  if #payload ~= payload_bytes then payload = false end
  local status = take(id, header, payload_bytes, payload)
  if not payload and (status == APPENDED or status == HELD or status == LATE) then
    s.memory_bytes = s.memory_bytes + payload_bytes
  end
  reply[#reply + 1] = status
end
settle()
save()
reply[1], reply[2], reply[3], reply[4] = s.next, s.n_held, s.sealed, s.n_received
return reply
