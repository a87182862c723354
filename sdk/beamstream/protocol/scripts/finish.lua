-- Finish a stream: nothing beyond the last id will be taken; the end is written once everything up to it has settled.
--
-- KEYS  as in sequence.lua
-- ARGV  last id, reason, next stream or ''
--
-- Returns last, sealed. Finishing again changes nothing but what was still open; a last id below what is already there
-- is raised to it.

if redis.call('EXISTS', state) == 0 then
  return redis.error_reply('NOSTREAM the stream was deleted')
end

if s.finish_since_ms == 0 then
  s.last = math.max(tonumber(ARGV[1]), s.next - 1)
  local highest = redis.call('ZRANGE', held, -1, -1, 'WITHSCORES')[2]
  if highest then s.last = math.max(s.last, tonumber(highest)) end
  s.finish_since_ms = now_ms
  redis.call('HSET', state, 'reason', ARGV[2], 'next_stream', ARGV[3])
end
settle()
save()
return {s.last, s.sealed}
