-- Delete payloads that no entry leads to: their producer was killed before it published them, or their broker after it
-- had released them. What was stored, or read, within a grace time is left alone: somebody may be about to publish it.
--
-- KEYS[1] index, KEYS[2] state, KEYS[3] held, KEYS[4] late, KEYS[5] parts, then the keys of payloads
-- ARGV[1]  grace [s], then three per payload: message id, part or 0, checksum as in its key
--
-- Returns how many were deleted, and their bytes.

local index, state, held, late, collected = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local grace_s = tonumber(ARGV[1])
local there = redis.call('EXISTS', state) == 1
local released = redis.call('HGET', state, 'released_entry') or '0-0'

local function header_at(entry_id)
  local entry = redis.call('XRANGE', index, entry_id, entry_id)[1]
  for i = 1, entry and #entry[2] or 0, 2 do
    if entry[2][i] == 'h' then return entry[2][i + 1] end
  end
end

local function hex(bytes)
  return (string.gsub(bytes, '.', function(byte) return string.format('%02x', string.byte(byte)) end))
end

-- Whether an entry or a message that waits leads to this payload, or will.
local function is_wanted(id, part, checksum)
  if part ~= '0' then
    if redis.call('HEXISTS', collected, id .. ':' .. part) == 1 then return true end
  end
  if #redis.call('ZRANGEBYSCORE', held, id, id) > 0 then return true end
  for entry_id in string.gmatch(id .. '-0 ' .. (redis.call('HGET', late, id) or ''), '%S+') do
    local header = header_at(entry_id)
    -- The checksum of a dataset is none of its parts': there any entry will do.
    if header and behind(entry_id, released) and (part ~= '0' or hex(string.sub(header, 2, 9)) == checksum) then
      return true
    end
  end
  return false
end

local n, n_bytes = 0, 0
for i = 6, #KEYS do
  local key, at = KEYS[i], 3 * (i - 6) + 2
  local idle_s = redis.pcall('OBJECT', 'IDLETIME', key) -- a number; not where the server evicts by frequency
  if type(idle_s) == 'number' and idle_s >= grace_s then
    if not there or not is_wanted(ARGV[at], ARGV[at + 1], ARGV[at + 2]) then
      n, n_bytes = n + 1, n_bytes + redis.call('STRLEN', key)
      redis.call('UNLINK', key)
    end
  end
end
return {n, n_bytes}
