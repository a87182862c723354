-- Set a group to another position, or only say what that would mean.
--
-- KEYS, ARGV[1], ARGV[2]  as in group.lua
-- KEYS[5] state  hash: how many messages were older than the stream is kept
-- ARGV  entry id to go on behind ('$': the newest), silence after which a member is dead [ms], 1 to seek although
--       members live, 1 to change nothing
--
-- The group goes on from exactly there: whatever is pending is let go, due or not. Dead letters that will be delivered
-- again are forgotten.
--
-- Returns 1 where the group was set, messages delivered again, messages passed over, entries let go, living members,
-- the entry id.

local target, timeout_ms, force, dry = ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1', ARGV[6] == '1'
local LOOK_BACK = 64 -- entries of others that may stand among ours

if target == '$' then
  local newest = redis.call('XREVRANGE', index, '+', '-', 'COUNT', 1)[1]
  target = newest and newest[1] or '0-0'
end

-- The number of messages in the index up to an entry.
local n_gone = tonumber(redis.call('HGET', KEYS[5], 'n_expired') or 0)

local function n_up_to(entry_id)
  for _, entry in ipairs(redis.call('XREVRANGE', index, entry_id, '-', 'COUNT', LOOK_BACK)) do
    local n = tonumber(as_map(entry[2]).n)
    if n then return n end
  end
  return n_gone
end

local function n_pending_up_to(entry_id)
  local n, from = 0, '-'
  while true do
    local page = redis.call('XPENDING', index, group, from, entry_id, PAGE)
    if #page == 0 then return n end
    n, from = n + #page, '(' .. page[#page][1]
  end
end

local function let_go()
  while true do
    local page = redis.call('XPENDING', index, group, '-', '+', PAGE)
    if #page == 0 then break end
    local command = {'XACK', index, group}
    for _, pending in ipairs(page) do command[#command + 1] = pending[1] end
    redis.call(unpack(command))
  end
  redis.call('DEL', delayed)
end

local function forget_letters()
  for _, entry_id in ipairs(redis.call('HKEYS', dead)) do
    if behind(entry_id, target) then
      redis.call('HDEL', dead, entry_id)
      redis.call('HINCRBY', about, 'n_dead', -1)
    end
  end
end

local position
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', index)) do
  local found = as_map(flat)
  if found.name == group then position = found['last-delivered-id'] end
end
local moved = n_up_to(target) - n_up_to(position)
local n_passed_over = math.max(0, moved) + n_pending_up_to(behind(target, position) and position or target)
local n_let_go = redis.call('XPENDING', index, group)[1]
local living = n_alive(timeout_ms)
local applied = 0
if not dry and (force or living == 0) then
  let_go()
  forget_letters()
  redis.call('XGROUP', 'SETID', index, group, target)
  if n_passed_over > 0 then redis.call('HINCRBY', about, 'n_passed_over', n_passed_over) end
  applied = 1
end
return {applied, math.max(0, -moved), n_passed_over, n_let_go, living, target}
