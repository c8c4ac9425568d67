-- Queues leased jobs again, at the end of the queue: the job of one lease, or all those whose leases have ended by their
-- time. A job that is over is not queued.
-- KEYS: stream of the queue, leases. ARGV: seconds to keep the hashes, the longest index of a model, then, for one job:
-- its id, its lease, its key ('': any lease is accepted). Returns the number of jobs whose leases ended.
local stream, leases = KEYS[1], KEYS[2]

local function requeue(id)
  local job, key = 'jobs:' .. id, 'jobs:' .. id .. ':lease'
  local lease = redis.call('HMGET', key, 'attempt', 'entry')
  redis.call('ZREM', leases, id)
  redis.call('DEL', key)
  local known = redis.call('HMGET', job, 'attempt', 'status')
  local same = not lease[1] or lease[1] == '' or known[1] == lease[1]
  if not lease[2] or not same or known[2] ~= 'processing' then
    return
  end
  local entry, model = cjson.decode(lease[2]), nil
  for index = 1, #entry, 2 do
    model = entry[index] == 'model' and entry[index + 1] or model
  end
  local added = redis.call('XADD', stream, '*', unpack(entry))
  if model then
    local index = 'generation:queue:' .. model
    redis.call('RPUSH', index, added)
    redis.call('LTRIM', index, '-' .. ARGV[2], -1)
    redis.call('EXPIRE', index, ARGV[1])
  end
  redis.call('HSET', job, 'status', 'queued', 'entryId', added, 'requeued', '1')
  redis.call('HDEL', job, 'heartbeats')
  redis.call('EXPIRE', job, ARGV[1])
end

if ARGV[3] then
  local lease = redis.call('HMGET', 'jobs:' .. ARGV[3] .. ':lease', 'lease', 'key')
  local key = lease[2] or ''
  if lease[1] ~= ARGV[4] or (key ~= '' and ARGV[5] ~= '' and key ~= ARGV[5]) then
    return 0
  end
  requeue(ARGV[3])
  return 1
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ended = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 100)
for _, id in ipairs(ended) do
  requeue(id)
end
return #ended
