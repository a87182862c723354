-- Note something about a group: add to one of its counts, or keep a text. Works while the memory is full, too.
--
-- KEYS[1] hash
-- ARGV[1] 'add' or 'set', then pairs of field and value

for i = 2, #ARGV, 2 do
  if ARGV[1] == 'add' then
    redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return redis.status_reply('OK')
