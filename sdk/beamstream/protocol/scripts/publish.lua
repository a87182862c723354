-- Take a batch of messages into the sequence; without messages, only settle what waits. Atomic.
--
-- KEYS  as in sequence.lua
-- ARGV[1]  1 when the batch is sent again after a lost connection: its duplicates are counted as retried; else 0. Behind
--          it, with a blank between, the life of the stream in which the payloads were stored: created_ns/restored_ns.
--          In another life they are gone, and nothing is taken (NEWLIFE)
-- ARGV[2…] three per message: id, header, inline payload (its length is the header's, or there is none);
--          of a dataset three per part: id:part, header of the part, nothing; where a producer says that an id will
--          have no message: id, nothing, and why: declined or stated
--
-- Returns next, n_held, sealed, the number of message entries in the index, then one status per message:
--   0 appended, 1 held until a gap closes, 2 duplicate, 3 another payload is there under this id (the first one stays),
--   4 appended late, 5 refused: beyond the last id of the finished stream, 6 duplicate whose payload has left memory,
--   or an id below what the stream has kept;
-- of a part: 0 it completed its dataset, which was appended, 1 held until the other parts are there or a gap closes;
-- of an id without a message: 2 that was known, or it was passed over, 3 a message is there (to a declined one)

local APPENDED, HELD, DUPLICATE, CONFLICT, LATE, REFUSED, RELEASED = 0, 1, 2, 3, 4, 5, 6
local retried = string.sub(ARGV[1], 1, 1) == '1'

if not created and call('EXISTS', state) == 0 then
  return redis.error_reply('NOSTREAM the stream was deleted')
end

if #ARGV[1] > 2 and sub(ARGV[1], 3) ~= life then
  return redis.error_reply('NEWLIFE the stream was made anew or put back')
end

-- Whether payloads up to an entry have left memory. A late message stands behind others, so its id does not say.
local function has_left(entry_id)
  local released = redis.call('HGET', state, 'released_entry')
  return released and not behind(entry_id, released)
end

local function conflict()
  s.n_conflict = s.n_conflict + 1
  return CONFLICT
end

-- What is there already, in an entry or held.
local function duplicate(header, known, entry_id)
  if checksum(known) ~= checksum(header) then
    return conflict()
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

-- Older than the stream is kept: nobody knows any more whether it was there.
local function has_expired(id)
  if id > s.expired then return false end
  s.n_duplicate = s.n_duplicate + 1
  return true
end

-- Whether an id below s.next was declined: then it stands in the next entry, which is a gap.
local function was_declined(id)
  write_absent()
  local entry = redis.call('XRANGE', index, id_text(id) .. '-0', '+', 'COUNT', 1)[1]
  local fields = entry and as_map(entry[2]) or {}
  return fields.k == 'g' and fields.r == DECLINED and tonumber(fields.f) <= id
end

-- Take note that there will be no message under an id. What is there stays: of one that is only stated to be missing
-- that is what its producer hopes for.
local function take_absence(id, reason)
  if id >= s.next and s.finish_since_ms > 0 and id > s.last then
    s.n_refused = s.n_refused + 1
    return REFUSED
  end
  local is_there, is_known = false, id < s.next
  if is_known then
    is_there = id > s.expired and (redis.call('HGET', late, id_text(id)) or header_at(id_text(id) .. '-0'))
  else
    local packed = held_at(id)
    is_known = packed and true
    is_there = packed and cmsgpack.unpack(packed)[3] ~= ''
  end
  if reason == DECLINED and is_there then return conflict() end
  if is_known then
    if reason == DECLINED and retried then s.n_retried = s.n_retried + 1
    elseif reason == DECLINED then s.n_duplicate = s.n_duplicate + 1 end
    return DUPLICATE
  end
  if id > s.next then
    hold({id, now_ms, '', 0, reason})
    return HELD
  end
  go_without(reason)
  drain()
  return APPENDED
end

-- A message whose place in the sequence has gone by: a duplicate, or late.
local function take_late(id, header, payload_bytes, payload)
  if has_expired(id) then return RELEASED end
  local key = id_text(id)
  local late_id = redis.call('HGET', late, key)
  local entry_id = late_id or (key .. '-0')
  local known = header_at(entry_id)
  if known then
    return duplicate(header, known, entry_id)
  end
  if was_declined(id) then return conflict() end
  local position = s.next - 1 + s.sealed
  redis.call('HSET', late, key, append(id_text(position) .. '-*', id, header, payload_bytes, payload))
  s.n_late = s.n_late + 1
  s.n_missing = s.n_missing - 1
  return LATE
end

-- Make room for a message where it was only stated that it is missing; whether that was all that is held.
local function gives_way(packed, message)
  if message[3] ~= '' or message[5] ~= STATED then return false end
  let_go(packed)
  return true
end

local function take_ahead(id, header, payload_bytes, payload)
  local known = held_at(id)
  local message = known and cmsgpack.unpack(known)
  if message and not gives_way(known, message) then
    return duplicate(header, message[3])
  end
  hold({id, now_ms, header, payload_bytes, payload or false})
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
    return take_ahead(id, header, payload_bytes, payload)
  end
  append(format('%d-0', id), nil, header, payload_bytes, payload)
  s.next = id + 1
  if s.n_held > 0 then drain() end
  return APPENDED
end

local take_part, parse_part

if n_parts > 1 then

  -- A part whose dataset is in the index already, or was passed over: a duplicate, or an entry of its own.
  local function take_late_part(id, number, header, payload_bytes)
    if has_expired(id) then return RELEASED end
    local key = id_text(id)
    local late_ids = redis.call('HGET', late, key)
    local n_there = 0
    for entry_id in string.gmatch(key .. '-0 ' .. (late_ids or ''), '%S+') do
      local dataset = header_at(entry_id)
      for known_number, known in pairs(dataset and parts_of(dataset) or {}) do
        if known_number == number then return duplicate(header, known, entry_id) end
        n_there = n_there + 1
      end
    end
    if n_there == 0 and was_declined(id) then return conflict() end
    if n_there > 0 then
      if n_there + 1 == n_parts then s.n_incomplete = s.n_incomplete - 1 end
    else
      s.n_missing = s.n_missing - 1
      s.n_incomplete = s.n_incomplete + 1
    end
    s.n_late = s.n_late + 1
    local entry_id = append(id_text(s.next - 1 + s.sealed) .. '-*', id,
      dataset_header({{number, header}}, payload_bytes, n_there > 0), payload_bytes, false, n_there > 0)
    redis.call('HSET', late, key, late_ids and (late_ids .. ' ' .. entry_id) or entry_id)
    return LATE
  end

  function take_part(id, number, header, payload_bytes)
    if id < s.next then
      return take_late_part(id, number, header, payload_bytes)
    end
    if s.finish_since_ms > 0 and id > s.last then
      s.n_refused = s.n_refused + 1
      return REFUSED
    end
    local packed = held_at(id)
    local dataset = packed and cmsgpack.unpack(packed)
    if dataset and gives_way(packed, dataset) then packed = nil end
    if not packed then dataset = {id, now_ms, false, 0, false, 0, 0} end
    if dataset[3] == '' then return conflict() end
    if not dataset[N_THERE] then
      return duplicate(header, parts_of(dataset[3])[number])
    end
    local name = collected_as(id, number)
    if redis.call('HSETNX', collected, name, header) == 0 then
      return duplicate(header, redis.call('HGET', collected, name))
    end
    if packed then let_go(packed) end
    dataset[4] = dataset[4] + payload_bytes
    dataset[N_THERE] = dataset[N_THERE] + 1
    dataset[HEADER_BYTES] = dataset[HEADER_BYTES] + #header
    s.held_bytes = s.held_bytes + #header
    if dataset[N_THERE] < n_parts then
      hold(dataset)
      return HELD
    end
    local whole = dataset_header(take_parts(dataset), dataset[4])
    if id > s.next then
      hold({id, dataset[2], whole, dataset[4], false})
      return HELD
    end
    append(id_text(id) .. '-0', nil, whole, dataset[4])
    s.next = s.next + 1
    drain()
    return APPENDED
  end

  -- Id and number of a part that fits the stream: all parts have to go into one header and one record of a segment.
  function parse_part(text, header)
    local id, number = string.match(text, '^(%d+):(%d+)$')
    number = tonumber(number)
    if number and number > 0 and number <= n_parts and #header <= max_part_header()
      and payload_size(header) <= max_part_payload() then
      return tonumber(id), number
    end
  end

end

-- Nothing is taken of a batch that does not fit the stream.
local arguments, ids, numbers = ARGV, {}, {}
local n_messages = (#arguments - 1) / 3
for i = 1, n_messages do
  local name, header = arguments[3 * i - 1], arguments[3 * i]
  if header == '' then
    local reason = arguments[3 * i + 1]
    if reason ~= DECLINED and reason ~= STATED then
      return redis.error_reply('BADREASON ' .. reason .. ' is no reason why there is no message')
    end
  end
  if n_parts > 1 and header ~= '' then
    ids[i], numbers[i] = parse_part(name, header)
  else
    ids[i] = tonumber(name)
  end
  if not ids[i] then
    return redis.error_reply('BADPART ' .. name .. ' in a stream whose messages have ' .. n_parts .. ' part(s)')
  end
end

local reply = {0, 0, 0, 0}
for i = 1, n_messages do
  local id, number, header, payload = ids[i], numbers[i], arguments[3 * i], arguments[3 * i + 1]
  local payload_bytes = header == '' and 0 or payload_size(header)
  local reason = payload
  if number or header == '' or #payload ~= payload_bytes then payload = false end
  local status
  if header == '' then
    status = take_absence(id, reason)
  elseif number then
    status = take_part(id, number, header, payload_bytes)
  else
    status = take(id, header, payload_bytes, payload)
  end
  if not payload and (status == APPENDED or status == HELD or status == LATE) then
    s.memory_bytes = s.memory_bytes + payload_bytes
  end
  reply[i + 4] = status
end
settle()
save()
reply[1], reply[2], reply[3], reply[4] = s.next, s.n_held, s.sealed, s.n_received + s.n_additions
return reply
