-- Let a stream be there that was built up under other keys, all of it at once; nothing where one of its name is there.
--
-- KEYS[1] state  hash
-- then pairs: the key that was built, the one that it becomes
-- ARGV  fields and values of the state
--
-- Returns 1 where the stream was put back, 0 where one was there; what was built is gone then.

local made = redis.call('EXISTS', KEYS[1]) == 0
for i = 2, #KEYS, 2 do
  if made and redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('RENAME', KEYS[i], KEYS[i + 1])
  else
    redis.call('UNLINK', KEYS[i])
  end
end
if not made then return 0 end
for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
if redis.call('HGET', KEYS[1], 'sealed') ~= '1' and (tonumber(redis.call('HGET', KEYS[1], 'finish_since_ms')) or 0) > 0 then
  -- Whoever still has messages is given the patience once more.
  local clock = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'finish_since_ms', string.format('%d', clock[1] * 1000 + math.floor(clock[2] / 1000)))
end
return 1
