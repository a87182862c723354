-- What nearly every batch is: messages in their order, right behind the last one of a stream in which nothing waits.
--
-- It is taken here, before all that the others need is set up, which takes longer than taking it. Of any other batch
-- nothing is written here, and publish.lua, to which this is prepended, goes on; keys and arguments are described there.
do
  local call, format, read = redis.call, string.format, struct.unpack
  local arguments, index, state = ARGV, KEYS[1], KEYS[2]
  local n_messages = (#arguments - 1) / 3
  local created, restored, next_id, bytes, memory_bytes, n_received, n_additions, n_parts, n_held, last, finishing, sealed
  if n_messages > 0 then
    created, restored, next_id, bytes, memory_bytes, n_received, n_additions, n_parts, n_held, last, finishing, sealed =
      unpack(call('HMGET', state, 'created_ns', 'restored_ns', 'next', 'bytes', 'memory_bytes', 'n_received',
        'n_additions', 'n_parts', 'n_held', 'last', 'finish_since_ms', 'sealed'))
  end

  local is_plain = created and (n_parts or '1') == '1' and (n_held or '0') == '0' and (last or '0') == '0'
    and (finishing or '0') == '0' and (sealed or '0') == '0'
    and arguments[1] == '0 ' .. created .. '/' .. (restored or '')
  local first_id = tonumber(next_id or 1)
  local sizes = {}
  for i = 1, is_plain and n_messages or 0 do
    local header = arguments[3 * i]
    if #header <= 25 or tonumber(arguments[3 * i - 1]) ~= first_id + i - 1 then
      is_plain = false
      break
    end
    sizes[i] = read('>I8', header, 10)
  end

  if is_plain then
    bytes, memory_bytes, n_received = tonumber(bytes or 0), tonumber(memory_bytes or 0), tonumber(n_received or 0)
    n_additions = tonumber(n_additions or 0)
    local reply, newest_entry = {0, 0, 0, 0}, nil
    for i = 1, n_messages do
      local size, payload = sizes[i], arguments[3 * i + 1]
      bytes, n_received = bytes + size, n_received + 1
      local entry_id = format('%d-0', first_id + i - 1)
      local up_to, n = format('%d', bytes), format('%d', n_received + n_additions)
      if #payload == size then
        newest_entry = call('XADD', index, entry_id, 'h', arguments[3 * i], 'b', up_to, 'n', n, 'p', payload)
      else
        newest_entry = call('XADD', index, entry_id, 'h', arguments[3 * i], 'b', up_to, 'n', n)
        memory_bytes = memory_bytes + size
      end
      reply[i + 4] = 0
    end
    reply[1], reply[4] = first_id + n_messages, n_received + n_additions
    call('HSET', state, 'newest_entry', newest_entry, 'next', format('%d', reply[1]), 'bytes', format('%d', bytes),
      'memory_bytes', format('%d', memory_bytes), 'n_received', format('%d', n_received))
    return reply
  end
end

