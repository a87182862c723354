-- Let a finished stream's index leave the server; everything of it is in its segments, and can be put back from there.
--
-- KEYS[1] state, KEYS[2] index, then all other keys of the stream but its payloads
-- ARGV  created_ns, silence after which nobody reads it any more [ms], then its groups
--
-- Returns 1; 0 where somebody has come meanwhile, or it is another stream.

local state, index, silence_ms = KEYS[1], KEYS[2], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local created, sealed, finished_ms, read_ms, restored_ns =
  unpack(redis.call('HMGET', state, 'created_ns', 'sealed', 'finish_since_ms', 'read_ms', 'restored_ns'))
if created ~= ARGV[1] or sealed ~= '1' then return 0 end
local last_ms = math.max(tonumber(finished_ms or 0), tonumber(read_ms or 0), tonumber(restored_ns or 0) / 1000000)
if now_ms - last_ms < silence_ms then return 0 end

local known, n_known = {}, #ARGV - 2
for i = 3, #ARGV do known[ARGV[i]] = true end
local groups = redis.call('EXISTS', index) == 1 and redis.call('XINFO', 'GROUPS', index) or {}
if #groups ~= n_known then return 0 end
for _, flat in ipairs(groups) do
  local group = as_map(flat)
  if not known[group.name] then return 0 end
  for _, one in ipairs(redis.call('XINFO', 'CONSUMERS', index, group.name)) do
    if as_map(one).idle < silence_ms then return 0 end
  end
end
redis.call('UNLINK', unpack(KEYS))
return 1
