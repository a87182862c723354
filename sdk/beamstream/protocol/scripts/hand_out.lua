-- Count a delivery: a member is about to hand out a message that it claimed.
--
-- KEYS, ARGV[1], ARGV[2]  as in group.lua
-- ARGV  member, entry id, the number of this delivery
--
-- Returns 1, or 0 where the member does not hold it any more.

local member, entry_id, n = ARGV[3], ARGV[4], ARGV[5]
if not n_deliveries(entry_id, member) then return 0 end
redis.call('XCLAIM', index, group, member, 0, entry_id, 'RETRYCOUNT', n, 'JUSTID')
return 1
