-- A consumer group and what waits in it: what the scripts of groups share; prepended to each of them.
--
-- KEYS[1] index    stream
-- KEYS[2] group    hash: required, created_ns, max_attempts, delays_ms, n_redelivered, n_skipped, n_dead,
--                  n_passed_over, n_expired, expired_first, expired_last, expired_n, report
-- KEYS[3] delayed  zset: entry id of a message that was given back -> when it is due [ms since 1970]; each of them is
--                  pending under the parked name as well, so that nothing hangs on this set alone
-- KEYS[4] dead     hash: entry id -> packed {message id, deliveries, when [ms since 1970], member, why}
-- ARGV[1], ARGV[2]  group, name under which messages are parked

local index, about, delayed, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, parked = ARGV[1], ARGV[2]

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local PAGE = 1000 -- pending entries looked at with one call

-- From here on a group's dead letters keep only the end of what went wrong: a handler that fails on everything must not
-- fill the memory with tracebacks.
local MANY_LETTERS, SHORT_WHY_BYTES = 1000, 200

local function max_attempts()
  return tonumber(redis.call('HGET', about, 'max_attempts') or '') or math.huge
end

-- How long a message waits after its n-th delivery failed [ms]; the last delay stands for all further ones.
local function delay_ms(n)
  local last = 0
  for delay in string.gmatch(redis.call('HGET', about, 'delays_ms') or '', '%d+') do
    last, n = tonumber(delay), n - 1
    if n <= 0 then break end
  end
  return last
end

-- How often an entry that is pending (under a member, if one is named) was delivered, or nil.
local function n_deliveries(entry_id, member)
  local found = redis.call('XPENDING', index, group, entry_id, entry_id, 1)[1]
  return found and (not member or found[2] == member) and found[4] or nil
end

local function park(entry_id, n, due_ms)
  redis.call('XCLAIM', index, group, parked, 0, entry_id, 'RETRYCOUNT', n, 'FORCE', 'JUSTID')
  redis.call('ZADD', delayed, text(due_ms), entry_id)
end

local function bury(entry_id, message_id, n, member, why)
  if redis.call('HLEN', dead) >= MANY_LETTERS then why = string.sub(why, -SHORT_WHY_BYTES) end
  redis.call('HSET', dead, entry_id, cmsgpack.pack({message_id, n, now_ms, member, why}))
  redis.call('HINCRBY', about, 'n_dead', 1)
  redis.call('XACK', index, group, entry_id)
  redis.call('ZREM', delayed, entry_id)
end

-- Members that showed themselves within a time.
local function n_alive(timeout_ms)
  local n = 0
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', index, group)) do
    local member = as_map(flat)
    if member.name ~= parked and member.idle < timeout_ms then n = n + 1 end
  end
  return n
end

