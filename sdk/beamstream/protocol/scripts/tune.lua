-- Append a version of the parameters of a group's services, unless somebody was quicker; forget what there is no room for.
--
-- KEYS[1] parameters  hash: version, oldest, declared, v<number> record, a<number> how many processes use it,
--                     r<number> who refused it and why, x<checksum> large value, large (checksum:bytes, by last use)
-- KEYS[2] tunable     set: groups with parameters
-- ARGV  group, version that this one follows, its number, record, declaration ('': as it is), most versions,
--       most bytes of large values, time until it is forgotten [ms], then pairs of checksum and large value
--
-- Returns 1 where it was appended, 0 where another version than the one that it follows is the newest.

local about, groups = KEYS[1], KEYS[2]
local number, most_versions, most_bytes = tonumber(ARGV[3]), tonumber(ARGV[6]), tonumber(ARGV[7])
local now = tonumber(redis.call('HGET', about, 'version') or 0)
if now ~= tonumber(ARGV[2]) or number <= now then return 0 end

redis.call('HSET', about, 'version', number, 'v' .. number, ARGV[4])
redis.call('HSETNX', about, 'oldest', number)
if ARGV[5] ~= '' then redis.call('HSET', about, 'declared', ARGV[5]) end
redis.call('SADD', groups, ARGV[1])
redis.call('PEXPIRE', about, ARGV[8])
redis.call('PEXPIRE', groups, ARGV[8])

local oldest = tonumber(redis.call('HGET', about, 'oldest'))
while number - oldest >= most_versions do
  redis.call('HDEL', about, 'v' .. oldest, 'a' .. oldest, 'r' .. oldest)
  oldest = oldest + 1
end
redis.call('HSET', about, 'oldest', oldest)

-- What this version uses goes behind the others; those in front leave first.
local used, kept, total = {}, {}, 0
for i = 9, #ARGV, 2 do used[ARGV[i]] = ARGV[i + 1] end
for checksum, size in string.gmatch(redis.call('HGET', about, 'large') or '', '(%x+):(%d+)') do
  if not used[checksum] then
    kept[#kept + 1] = {checksum, tonumber(size)}
    total = total + tonumber(size)
  end
end
for checksum, value in pairs(used) do
  redis.call('HSET', about, 'x' .. checksum, value)
  kept[#kept + 1] = {checksum, #value}
  total = total + #value
end
local texts = {}
for i, one in ipairs(kept) do
  if total > most_bytes and not used[one[1]] then
    redis.call('HDEL', about, 'x' .. one[1])
    total = total - one[2]
  else
    texts[#texts + 1] = one[1] .. ':' .. one[2]
  end
end
redis.call('HSET', about, 'large', table.concat(texts, ' '))
return 1
