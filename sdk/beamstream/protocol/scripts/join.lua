-- Make a consumer group, or find it made, and note what kind of group it is; forget members that are long gone.
--
-- KEYS, ARGV[1], ARGV[2]  as in group.lua
-- KEYS[5] state  hash: there is a stream as long as it exists
-- ARGV  entry id that it starts behind, required (0 or 1), created_ns, max_attempts, delays_ms, silence after which a
--       member that holds nothing is forgotten [ms]
--
-- Returns 1 where it was made, 0 where it was there (its position, attempts and delays stay).

if redis.call('EXISTS', KEYS[5]) == 0 then
  return redis.error_reply('NOSTREAM the stream was deleted')
end

local start, stale_ms = ARGV[3], tonumber(ARGV[8])

local function is_there()
  if redis.call('EXISTS', index) == 0 then return false end
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', index)) do
    if as_map(flat).name == group then return true end
  end
  return false
end

local made = 0
if not is_there() then
  redis.call('XGROUP', 'CREATE', index, group, start, 'MKSTREAM')
  made = 1
end
redis.call('HSETNX', about, 'created_ns', ARGV[5])
redis.call('HSETNX', about, 'max_attempts', ARGV[6])
redis.call('HSETNX', about, 'delays_ms', ARGV[7])
redis.call('HSET', about, 'required', ARGV[4])
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', index, group)) do
  local member = as_map(flat)
  if member.name ~= parked and member.pending == 0 and member.idle >= stale_ms then
    redis.call('XGROUP', 'DELCONSUMER', index, group, member.name)
  end
end
return made
