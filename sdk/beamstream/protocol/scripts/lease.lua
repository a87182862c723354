-- Take a lease, prolong it, or let it go.
--
-- KEYS[1] lease  string: who has it
-- ARGV  who, for how long [ms] (0: let it go)
--
-- Returns who has it now ('' where nobody has).

local owner, who = redis.call('GET', KEYS[1]), ARGV[1]
if owner and owner ~= who then return owner end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return ''
end
redis.call('SET', KEYS[1], who, 'PX', ARGV[2])
return who
