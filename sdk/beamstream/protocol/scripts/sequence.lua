-- The sequence of one stream: what publish.lua and finish.lua share; prepended to both.
--
-- KEYS[1] index  stream  entries "<message id>-0"; late ones "<position>-<n>"; see PROTOCOL.md
-- KEYS[2] state  hash    next, bytes, memory_bytes, n_held, held_bytes, counts, how it ended
-- KEYS[3] held   zset    packed {id, arrived_ms, header, payload_bytes, payload or false}, scored by message id
-- KEYS[4] late   hash    message id -> entry id

local index, state, held, late = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local FIELDS = {'next', 'bytes', 'memory_bytes', 'n_held', 'held_bytes', 'patience_ms', 'released',
  'n_received', 'n_duplicate', 'n_retried', 'n_conflict', 'n_late', 'n_missing', 'n_refused',
  'last', 'finish_since_ms', 'sealed'}
local s = {}
do
  local values = redis.call('HMGET', state, unpack(FIELDS))
  for i, field in ipairs(FIELDS) do
    s[field] = tonumber(values[i] or 0)
  end
  if not values[1] then s.next = 1 end
end

local function id_text(number)
  return string.format('%.0f', number)
end

-- A header begins with version (1 byte), checksum (8), payload bytes (8) and timestamp (8), all big-endian.
local function checksum(header)
  return string.sub(header, 2, 9)
end

local function payload_size(header)
  return (struct.unpack('>I8', string.sub(header, 10, 17)))
end

local function save()
  local update = {}
  for _, field in ipairs(FIELDS) do
    update[#update + 1] = field
    update[#update + 1] = id_text(s[field])
  end
  redis.call('HSET', state, unpack(update))
end

local function append(entry_id, id, header, payload_bytes, payload)
  s.bytes = s.bytes + payload_bytes
  s.n_received = s.n_received + 1
  -- Somebody still sends: the patience with what is missing at the end of a finished stream begins anew.
  if s.finish_since_ms > 0 then s.finish_since_ms = now_ms end
  local fields = {'h', header, 'b', id_text(s.bytes), 'n', id_text(s.n_received)}
  if payload then
    fields[7], fields[8] = 'p', payload
  end
  if id then
    fields[#fields + 1] = 'i'
    fields[#fields + 1] = id_text(id)
  end
  return redis.call('XADD', index, entry_id, unpack(fields))
end

-- What is held under an id, or nil.
local function held_at(id)
  local key = id_text(id)
  return redis.call('ZRANGEBYSCORE', held, key, key)[1]
end

local function hold_message(id, header, payload_bytes, payload)
  local packed = cmsgpack.pack({id, now_ms, header, payload_bytes, payload or false})
  redis.call('ZADD', held, id_text(id), packed)
  s.n_held = s.n_held + 1
  s.held_bytes = s.held_bytes + #packed
end

-- Append what was waiting for s.next, and what follows it without a gap.
local function drain()
  while s.n_held > 0 do
    local packed = held_at(s.next)
    if not packed then
      return
    end
    local message = cmsgpack.unpack(packed)
    redis.call('ZREM', held, packed)
    s.n_held = s.n_held - 1
    s.held_bytes = s.held_bytes - #packed
    append(id_text(s.next) .. '-0', nil, message[3], message[4], message[5])
    s.next = s.next + 1
  end
end

-- Record that the ids from s.next to last_id never came, and go on behind them.
local function pass_over(last_id, reason)
  s.n_missing = s.n_missing + last_id - s.next + 1
  redis.call('XADD', index, id_text(last_id) .. '-0', 'k', 'g', 'f', id_text(s.next), 'r', reason,
    'b', id_text(s.bytes), 'n', id_text(s.n_received))
  s.next = last_id + 1
  drain()
end

local MAX_HELD_BYTES = 67108864 -- headers and inline payloads that may wait behind one gap

-- Pass over what has kept the stream waiting for too long, and write the end once everything before it is settled.
-- A gap is as old as the message behind it, so that many gaps cost no more patience than one.
local function settle()
  while s.n_held > 0 do
    local first = cmsgpack.unpack(redis.call('ZRANGE', held, 0, 0)[1])
    local reason
    if now_ms - first[2] >= s.patience_ms then
      reason = 'patience'
    elseif s.held_bytes > MAX_HELD_BYTES then
      reason = 'held'
    else
      break
    end
    pass_over(first[1] - 1, reason)
  end
  if s.last > 0 or s.finish_since_ms > 0 then
    if s.next <= s.last and s.n_held == 0 and now_ms - s.finish_since_ms >= s.patience_ms then
      pass_over(s.last, 'finished')
    end
    if s.next > s.last and s.sealed == 0 then
      s.last = s.next - 1
      s.sealed = 1
      redis.call('XADD', index, id_text(s.last + 1) .. '-0', 'k', 'e', 'b', id_text(s.bytes), 'n',
        id_text(s.n_received))
    end
  end
end
