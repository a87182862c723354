-- Give a member what is due again, and what dead members left.
--
-- KEYS, ARGV[1], ARGV[2]  as in group.lua
-- ARGV  member, most entries to give, silence after which a member is dead [ms] (0: do not look for the dead),
--       then the entries that the member knows to be its own
--
-- A claim counts as no delivery: the member says when it hands a message out (hand_out.lua). So what was only fetched
-- ahead by members that died with another message does not use up its attempts.
--
-- Returns when the next one is due [ms from now, -1 where none waits], the entries that were given up, and those given:
-- entry id, the number that its delivery will have, fields. Then what grew too old before the group came to it, since
-- somebody was last told: first id, last id, number of messages; empty where there is nothing.

local member, count, timeout_ms = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local IDLE_PAGE, MAX_PAGES = 100, 20 -- so that one look at many waiting entries takes a few milliseconds
local limit = max_attempts()
local entries, buried = {}, {}
local known = {}
for i = 6, #ARGV do known[ARGV[i]] = true end

local function take(entry_id, n)
  local entry = redis.call('XCLAIM', index, group, member, 0, entry_id, 'RETRYCOUNT', n)[1]
  if not entry then return end
  local fields = as_map(entry[2])
  if n >= limit and not fields.k then
    local message_id = tonumber(fields.i) or (parts(entry_id))
    bury(entry_id, message_id, n, member, 'given up after ' .. n .. ' deliveries: its members died with it')
    buried[#buried + 1] = entry_id
  else
    entries[#entries + 1] = {entry_id, n + 1, entry[2]}
  end
end

for _, entry_id in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', text(now_ms), 'LIMIT', 0, count)) do
  redis.call('ZREM', delayed, entry_id)
  local n = n_deliveries(entry_id)
  if n then take(entry_id, n) end
end

local function look_at(entry_id, owner, n)
  if owner == member and known[entry_id] then return end
  if redis.call('ZSCORE', delayed, entry_id) then
    -- Waits for its time, longer than members may be silent: out of the way until it is idle again.
    redis.call('XCLAIM', index, group, owner, 0, entry_id, 'JUSTID')
  else
    take(entry_id, n)
  end
end

local from, n_pages = '-', 0
while timeout_ms > 0 and #entries < count and n_pages < MAX_PAGES do
  local page = redis.call('XPENDING', index, group, 'IDLE', timeout_ms, from, '+', IDLE_PAGE)
  if #page == 0 then break end
  for _, pending in ipairs(page) do
    if #entries < count then look_at(pending[1], pending[2], pending[4]) end
  end
  from, n_pages = '(' .. page[#page][1], n_pages + 1
end

local next_due = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
local expired = redis.call('HMGET', about, 'expired_first', 'expired_last', 'expired_n')
if expired[3] then redis.call('HDEL', about, 'expired_first', 'expired_last', 'expired_n') else expired = {} end
return {next_due and math.max(0, tonumber(next_due) - now_ms) or -1, buried, entries, expired}
