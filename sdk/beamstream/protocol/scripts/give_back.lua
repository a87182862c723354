-- Take a message back from a member: it waits for its next delivery, or goes to the dead letters after the last one.
--
-- KEYS, ARGV[1], ARGV[2]  as in group.lua
-- ARGV  member, entry id, message id, delay [ms] ('' for the group's, 'never' to give the message up at once), why
--
-- Returns 0 where it waits, 1 where it was given up, -1 where this member does not hold it any more.

local member, entry_id, message_id, delay, why = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
local n = n_deliveries(entry_id, member)
if not n then return -1 end
if delay == 'never' or n >= max_attempts() then
  bury(entry_id, message_id, n, member, why)
  return 1
end
park(entry_id, n, now_ms + (tonumber(delay) or delay_ms(n)))
return 0
