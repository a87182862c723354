-- Delete a group and all that is kept for it.
--
-- KEYS, ARGV[1], ARGV[2]  as in group.lua
-- ARGV  silence after which a member is dead [ms], 1 to delete although members live
--
-- Returns 1 where it was deleted, living members.

local living = n_alive(tonumber(ARGV[3]))
if living > 0 and ARGV[4] ~= '1' then return {0, living} end
redis.call('XGROUP', 'DESTROY', index, group)
redis.call('DEL', about, delayed, dead)
return {1, living}
