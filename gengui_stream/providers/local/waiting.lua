-- Counts the entries of a model that no worker has read. The `lag` of XINFO is unknown once entries were deleted, as by
-- claims.
-- KEYS: stream of the queue. ARGV: consumer group, model, the most entries to count.
local PAGE, PAGES_MAX = 100, 100
local most = tonumber(ARGV[3])

local last = '0-0'
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
for _, group in ipairs(groups.err and {} or groups) do
  local fields = {}
  for index = 1, #group, 2 do
    fields[group[index]] = group[index + 1]
  end
  if fields['name'] == ARGV[1] then
    last = fields['last-delivered-id']
  end
end

local function is_of_model(entry)
  for index = 1, #entry, 2 do
    if entry[index] == 'model' then
      return entry[index + 1] == ARGV[2]
    end
  end
  return false
end

local found = 0
for _ = 1, PAGES_MAX do
  local page = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', PAGE)
  for _, entry in ipairs(page) do
    last = entry[1]
    found = found + (is_of_model(entry[2]) and 1 or 0)
    if found >= most then
      return found
    end
  end
  if #page < PAGE then
    return found
  end
end
return found
