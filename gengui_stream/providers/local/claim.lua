-- Leases the oldest entry that no worker has, removing it from the stream; with models, the oldest of those models.
-- KEYS: stream of the queue, leases, then the index of each model. ARGV: consumer group, lease, milliseconds of the
-- lease, seconds to keep the hashes, name of the worker, key that the lease is bound to ('': none).
-- Returns {} when there is none; else 'leased' (or 'invalid': the entry names no job), names and values of the entry,
-- the end of the lease in Unix milliseconds, and how often the job was leased.
local stream, leases, lease_ms, kept = KEYS[1], KEYS[2], tonumber(ARGV[3]), ARGV[4]
local UUID = '^' .. string.rep('%x', 8) .. string.rep('%-' .. string.rep('%x', 4), 3) .. '%-' .. string.rep('%x', 12) .. '$'
local LOOKS_MAX = 1000 -- of entries that are gone or over: the next claim goes on

local function comes_after(one, other)
  local one_ms, one_number = string.match(one, '(%d+)-(%d+)')
  local other_ms, other_number = string.match(other, '(%d+)-(%d+)')
  if one_ms ~= other_ms then
    return tonumber(one_ms) > tonumber(other_ms)
  end
  return tonumber(one_number) > tonumber(other_number)
end

local function last_delivered()
  local groups = redis.pcall('XINFO', 'GROUPS', stream)
  for _, group in ipairs(groups.err and {} or groups) do
    local named, last = false, '0-0'
    for index = 1, #group, 2 do
      named = named or (group[index] == 'name' and group[index + 1] == ARGV[1])
      last = group[index] == 'last-delivered-id' and group[index + 1] or last
    end
    if named then
      return last
    end
  end
  return '0-0'
end

local last = last_delivered()
local looks = 0

local function head_of(index)
  while looks < LOOKS_MAX do
    looks = looks + 1
    local id = redis.call('LINDEX', index, 0)
    if not id then
      return nil
    end
    local found = comes_after(id, last) and redis.call('XRANGE', stream, id, id) or {}
    if #found == 1 then
      return found[1]
    end
    redis.call('LPOP', index)
  end
end

local function oldest()
  if #KEYS == 2 then
    return redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1)[1]
  end
  local first = nil
  for number = 3, #KEYS do
    local head = head_of(KEYS[number])
    if head and (not first or comes_after(first[1], head[1])) then
      first = head
    end
  end
  return first
end

local function is_over(job, attempt)
  local known = redis.call('HMGET', job, 'attempt', 'status')
  local known_attempt, status = tonumber(known[1] or ''), known[2]
  if attempt and known_attempt and known_attempt ~= attempt then
    return known_attempt > attempt
  end
  return status == 'canceled' or (attempt ~= nil and (status == 'completed' or status == 'failed'))
end

local time = redis.call('TIME')
local expires = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + lease_ms

while looks < LOOKS_MAX do
  looks = looks + 1
  local entry = oldest()
  if not entry then
    return {}
  end
  redis.call('XDEL', stream, entry[1])
  local fields = {}
  for index = 1, #entry[2], 2 do
    fields[entry[2][index]] = entry[2][index + 1]
  end
  local id = string.lower(fields['mediaId'] or '')
  if not string.match(id, UUID) then
    return {'invalid', entry[2], 0, 1}
  end
  local job, attempt = 'jobs:' .. id, tonumber(fields['attempt'] or '')
  if not is_over(job, attempt) then
    redis.call('HSET', job, 'status', 'processing', 'heartbeats', '1')
    redis.call('HDEL', job, 'requeued')
    if attempt then
      redis.call('HSET', job, 'attempt', fields['attempt'])
    end
    redis.call('EXPIRE', job, kept)
    redis.call('DEL', job .. ':lease')
    redis.call('HSET', job .. ':lease', 'lease', ARGV[2], 'ms', ARGV[3], 'attempt', fields['attempt'] or '',
      'worker', ARGV[5], 'key', ARGV[6], 'entry', cjson.encode(entry[2]))
    redis.call('EXPIRE', job .. ':lease', kept)
    redis.call('ZADD', leases, expires, id)
    return {'leased', entry[2], expires, redis.call('HINCRBY', job, 'deliveries', 1)}
  end
end
return {}
