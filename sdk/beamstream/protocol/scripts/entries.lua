-- Entry ids and answers as tables: what several scripts share; prepended to them. Takes no keys.

local function text(number)
  return string.format('%d', number)
end

local function as_map(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

-- The two numbers of an entry id; the second one may be left out.
local function parts(entry_id)
  local position, number = string.match(entry_id, '^(%d+)-?(%d*)$')
  return tonumber(position), tonumber(number) or 0
end

-- Whether entry a stands behind entry b.
local function behind(a, b)
  local a_position, a_number = parts(a)
  local b_position, b_number = parts(b)
  return a_position > b_position or (a_position == b_position and a_number > b_number)
end

