-- The sequence of one stream: what publish.lua and finish.lua share; prepended to both.
--
-- KEYS[1] index  stream  entries "<message id>-0"; late ones "<position>-<n>"; see PROTOCOL.md
-- KEYS[2] state  hash    next, bytes, memory_bytes, n_held, held_bytes, counts, how it ended
-- KEYS[3] held   zset    packed {id, arrived_ms, header, payload_bytes, payload or false}, scored by message id; of a
--                        dataset that waits for parts, what datasets.lua says; of an id without a message
--                        {id, arrived_ms, '', 0, reason}
-- KEYS[4] late   hash    message id -> entry id

local index, state, held, late = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

-- Looked up once, and not for each of thousands of messages.
local call, format, sub, read = redis.call, string.format, string.sub, struct.unpack

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local FIELDS = {'next', 'bytes', 'memory_bytes', 'n_held', 'held_bytes', 'patience_ms', 'released',
  'n_received', 'n_duplicate', 'n_retried', 'n_conflict', 'n_late', 'n_missing', 'n_refused',
  'last', 'finish_since_ms', 'sealed', 'n_incomplete', 'n_additions', 'expired', 'n_declined'}
local N_FIELDS = #FIELDS
local s, found = {}, {}  -- what the fields are, and what they were found to be; nil: not there
local n_parts, min_parts -- more than one: messages are datasets
local created, life      -- the life of the stream, see publish.lua; created is false where there is no stream
do
  local values = call('HMGET', state, 'n_parts', 'min_parts', 'created_ns', 'restored_ns', unpack(FIELDS))
  n_parts = tonumber(values[1] or 1)
  min_parts = tonumber(values[2] or n_parts)
  created, life = values[3], (values[3] or '') .. '/' .. (values[4] or '')
  for i = 1, N_FIELDS do
    local field, value = FIELDS[i], values[i + 4]
    if value then
      value = tonumber(value)
      s[field], found[field] = value, value
    else
      s[field] = 0
    end
  end
  if not found.next then s.next = 1 end
end

local function id_text(number)
  return format('%d', number)
end

-- A header begins with version (1 byte), checksum (8), payload bytes (8) and timestamp (8), all big-endian.
local function checksum(header)
  return sub(header, 2, 9)
end

local function payload_size(header)
  return (read('>I8', header, 10))
end

-- Reasons of gaps that producers state; see PROTOCOL.md, section 5.
local DECLINED, STATED = 'declined', 'stated'

local newest_entry  -- the last message that was appended
local absent_from, absent_reason -- ids up to s.next that will have no message, and are not in the index yet

-- What readers are given: messages, and parts that came after their dataset was appended.
local function n_entries()
  return id_text(s.n_received + s.n_additions)
end

local function write_gap(first_id, last_id, reason)
  redis.call('XADD', index, id_text(last_id) .. '-0', 'k', 'g', 'f', id_text(first_id), 'r', reason,
    'b', id_text(s.bytes), 'n', n_entries())
end

-- Put what was said to be absent into the index, neighbours as one entry: before anything is put behind it or asked for.
local function write_absent()
  if absent_from then
    local first_id = absent_from
    absent_from = nil
    write_gap(first_id, s.next - 1, absent_reason)
  end
end

local function save()
  write_absent()
  local update, n = {}, 0
  if newest_entry then update, n = {'newest_entry', newest_entry}, 2 end
  for i = 1, N_FIELDS do
    local field = FIELDS[i]
    if s[field] ~= found[field] then
      update[n + 1], update[n + 2] = field, id_text(s[field])
      n = n + 2
    end
  end
  if n > 0 then call('HSET', state, unpack(update)) end
end

local function append(entry_id, id, header, payload_bytes, payload, is_addition)
  write_absent()
  s.bytes = s.bytes + payload_bytes
  if is_addition then s.n_additions = s.n_additions + 1 else s.n_received = s.n_received + 1 end
  -- Somebody still sends: the patience with what is missing at the end of a finished stream begins anew.
  if s.finish_since_ms > 0 then s.finish_since_ms = now_ms end
  local bytes, n = id_text(s.bytes), n_entries()
  if not id and payload then
    newest_entry = call('XADD', index, entry_id, 'h', header, 'b', bytes, 'n', n, 'p', payload)
  elseif not id then
    newest_entry = call('XADD', index, entry_id, 'h', header, 'b', bytes, 'n', n)
  elseif payload then
    newest_entry = call('XADD', index, entry_id, 'h', header, 'b', bytes, 'n', n, 'p', payload, 'i', id_text(id))
  else
    newest_entry = call('XADD', index, entry_id, 'h', header, 'b', bytes, 'n', n, 'i', id_text(id))
  end
  return newest_entry
end

-- Go on without a message under s.next: its producer has said that there will be none.
local function go_without(reason)
  if absent_reason ~= reason then write_absent() end
  if not absent_from then absent_from, absent_reason = s.next, reason end
  if reason == DECLINED then s.n_declined = s.n_declined + 1 else s.n_missing = s.n_missing + 1 end
  if s.finish_since_ms > 0 then s.finish_since_ms = now_ms end
  s.next = s.next + 1
end

-- What is held under an id, or nil.
local function held_at(id)
  local key = id_text(id)
  return redis.call('ZRANGEBYSCORE', held, key, key)[1]
end

local function hold(message)
  local packed = cmsgpack.pack(message)
  redis.call('ZADD', held, id_text(message[1]), packed)
  s.n_held = s.n_held + 1
  s.held_bytes = s.held_bytes + #packed
end

local function let_go(packed)
  redis.call('ZREM', held, packed)
  s.n_held = s.n_held - 1
  s.held_bytes = s.held_bytes - #packed
end

local N_THERE = 6    -- where a held dataset says how many of its parts are there; of what is whole there is nothing
local settle_dataset -- see datasets.lua

-- Append what was waiting for s.next, and what follows it without a gap.
local function drain()
  while s.n_held > 0 do
    local packed = held_at(s.next)
    if not packed then
      return
    end
    local message = cmsgpack.unpack(packed)
    if message[N_THERE] then
      return
    end
    let_go(packed)
    if message[3] == '' then
      go_without(message[5])
    else
      append(id_text(s.next) .. '-0', nil, message[3], message[4], message[5])
      s.next = s.next + 1
    end
  end
end

-- Record that the ids from s.next to last_id never came.
local function state_gap(last_id, reason)
  write_absent()
  s.n_missing = s.n_missing + last_id - s.next + 1
  write_gap(s.next, last_id, reason)
  s.next = last_id + 1
end

local function pass_over(last_id, reason)
  state_gap(last_id, reason)
  drain()
end

local MAX_HELD_BYTES = 67108864 -- headers and inline payloads that may wait behind one gap

-- Pass over what has kept the stream waiting for too long, and write the end once everything before it is settled.
-- A gap is as old as the message behind it, so that many gaps cost no more patience than one; a dataset that lacks
-- parts is as old as the first of those that came.
local function settle()
  while s.n_held > 0 do
    local packed = redis.call('ZRANGE', held, 0, 0)[1]
    local first = cmsgpack.unpack(packed)
    local reason
    if now_ms - first[2] >= s.patience_ms then
      reason = 'patience'
    elseif s.held_bytes > MAX_HELD_BYTES then
      reason = 'held'
    else
      break
    end
    if first[1] == s.next then
      settle_dataset(packed, first)
    else
      pass_over(first[1] - 1, reason)
    end
  end
  if s.last > 0 or s.finish_since_ms > 0 then
    if s.next <= s.last and s.n_held == 0 and now_ms - s.finish_since_ms >= s.patience_ms then
      pass_over(s.last, 'finished')
    end
    if s.next > s.last and s.sealed == 0 then
      s.last = s.next - 1
      s.sealed = 1
      write_absent()
      redis.call('XADD', index, id_text(s.last + 1) .. '-0', 'k', 'e', 'b', id_text(s.bytes), 'n', n_entries())
    end
  end
end
