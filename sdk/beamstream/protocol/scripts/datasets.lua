-- Datasets: messages in several parts. Behind sequence.lua, prepended to what that is prepended to.
--
-- KEYS[5] parts  hash    <id>:<part> -> header, of datasets that wait for other parts
--
-- A dataset is collected there until all its parts have come; then it is a message like any other. Until then it stands
-- in `held`, packed {id, arrived_ms, false, payload_bytes, false, number of parts there, bytes of their headers}.

local collected, HEADER_BYTES = KEYS[5], 7
local max_part_header, max_part_payload, collected_as, take_parts, dataset_header, parts_of

if n_parts > 1 then -- making functions takes time, and most streams need none of these

  local FIXED_BYTES = 25
  local WORD = 4294967296

  -- The longest header and payload of a part, so that all of them fit into one header and one record of a segment.
  function max_part_header()
    return math.floor((1048576 - 64) / n_parts) - 8
  end

  function max_part_payload()
    return math.floor(536870912 / n_parts)
  end

  -- (a * b) modulo 2^32, exact in doubles.
  local function multiply(a, b)
    return (math.floor(a / 65536) * b % 65536 * 65536 + a % 65536 * b) % WORD
  end

  -- One step of FNV-1a, with a word of 32 bits in place of a byte.
  local function step(hash, word)
    return multiply(bit.bxor(hash, word) % WORD, 16777619)
  end

  function collected_as(id, number)
    return id_text(id) .. ':' .. number
  end

  -- What was collected of a dataset, to be kept there no longer: {number, header}, … in the order of the numbers.
  function take_parts(dataset)
    local names, parts = {}, {}
    for number = 1, n_parts do
      names[number] = collected_as(dataset[1], number)
    end
    local headers = redis.call('HMGET', collected, unpack(names))
    for number = 1, n_parts do
      if headers[number] then parts[#parts + 1] = {number, headers[number]} end
    end
    redis.call('HDEL', collected, unpack(names))
    s.held_bytes = s.held_bytes - dataset[HEADER_BYTES]
    return parts
  end

  local function pack_binary(text)
    local size = #text
    if size < 256 then return struct.pack('>BB', 0xc4, size) .. text end
    if size < 65536 then return struct.pack('>BI2', 0xc5, size) .. text end
    return struct.pack('>BI4', 0xc6, size) .. text
  end

  local function pack_array_head(size)
    if size < 16 then return struct.pack('>B', 0x90 + size) end
    return struct.pack('>BI2', 0xdc, size)
  end

  -- The header of a dataset, as PROTOCOL.md says; the order of its keys is relied on by parts_of.
  function dataset_header(parts, payload_bytes, is_addition)
    local upper, lower = 2166136261, 2166136261
    local earliest_upper, earliest_lower = WORD, 0
    local packed = {}
    for i, part in ipairs(parts) do
      local number, header = part[1], part[2]
      local checksum_upper, checksum_lower = struct.unpack('>I4I4', header, 2)
      upper = step(step(upper, number), checksum_upper)
      lower = step(step(lower, number), checksum_lower)
      local time_upper, time_lower = struct.unpack('>I4I4', header, 18)
      if time_upper < earliest_upper or (time_upper == earliest_upper and time_lower < earliest_lower) then
        earliest_upper, earliest_lower = time_upper, time_lower
      end
      packed[i] = '\146' .. cmsgpack.pack(number) .. pack_binary(header)
    end
    return struct.pack('>BI4I4I8I4I4', 1, upper, lower, payload_bytes, earliest_upper, earliest_lower)
      .. struct.pack('>B', is_addition and 0x83 or 0x82) .. '\161n' .. cmsgpack.pack(n_parts)
      .. '\161p' .. pack_array_head(#parts) .. table.concat(packed) .. (is_addition and '\161a\195' or '')
  end

  -- A msgpack integer, array head or binary as they are written here: its value, and where the next one begins.
  local function read_number(text, at)
    local kind = string.byte(text, at)
    if kind < 0x80 then return kind, at + 1 end
    return struct.unpack(kind == 0xcc and '>B' or '>I2', text, at + 1)
  end

  local function read_array_head(text, at)
    local kind = string.byte(text, at)
    if kind < 0xa0 then return kind - 0x90, at + 1 end
    return struct.unpack('>I2', text, at + 1)
  end

  local function read_binary(text, at)
    local kind = string.byte(text, at)
    local size, begin = struct.unpack(kind == 0xc4 and '>B' or kind == 0xc5 and '>I2' or '>I4', text, at + 1)
    return string.sub(text, begin, begin + size - 1), begin + size
  end

  -- The parts in the header of a dataset: number -> header of the part.
  function parts_of(header)
    local parts, size = {}, nil
    local _, at = read_number(header, FIXED_BYTES + 4) -- behind the head of the map and the key n
    size, at = read_array_head(header, at + 2)         -- behind the key p
    for _ = 1, size do
      local number
      number, at = read_number(header, at + 1)         -- behind the head of the pair
      parts[number], at = read_binary(header, at)
    end
    return parts
  end

  -- Let a dataset go whose patience is over: as it is where it has parts enough, else as a gap, and what came as late.
  settle_dataset = function(packed, dataset)
    local id, payload_bytes = dataset[1], dataset[4]
    local header = dataset_header(take_parts(dataset), payload_bytes)
    let_go(packed)
    s.n_incomplete = s.n_incomplete + 1
    if dataset[N_THERE] >= min_parts then
      append(id_text(id) .. '-0', nil, header, payload_bytes)
      s.next = s.next + 1
    else
      state_gap(id, 'incomplete')
      redis.call('HSET', late, id_text(id), append(id_text(id) .. '-*', id, header, payload_bytes))
      s.n_late = s.n_late + 1
      s.n_missing = s.n_missing - 1
    end
    drain()
  end

end
