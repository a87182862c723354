-- Say that a member lives and works on what it holds; nothing that has gone to another one is taken back.
--
-- KEYS, ARGV[1], ARGV[2]  as in group.lua
-- ARGV  member, then the entries that it believes to hold
--
-- Returns those of them that it does not hold any more.

local member, lost = ARGV[3], {}
for i = 4, #ARGV do
  if n_deliveries(ARGV[i], member) then
    redis.call('XCLAIM', index, group, member, 0, ARGV[i], 'JUSTID')
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
