-- Writes the status into a job's hash, if the job is still the worker's.
-- KEYS: hash of the job, stream of the queue. ARGV: consumer group, id of the entry, name of the worker, attempt ('' when
-- the entry had none), status ('' only reads), seconds to keep the hash, then further names and values.
-- Returns 'ours', 'canceled', 'over' (it has ended, or a later attempt has started) or 'lost' (another worker has claimed
-- the entry).
local pending = redis.pcall('XPENDING', KEYS[2], ARGV[1], ARGV[2], ARGV[2], 1)
if not pending.err and pending[1] and pending[1][2] ~= ARGV[3] then
  return 'lost'
end

local known = redis.call('HMGET', KEYS[1], 'attempt', 'status')
local attempt, known_attempt, status = tonumber(ARGV[4]), tonumber(known[1] or ''), known[2]
if attempt and known_attempt and known_attempt > attempt then
  return 'over'
end
local same = attempt == nil or known_attempt == attempt
if same and status == 'canceled' then
  return 'canceled'
end
if attempt and same and (status == 'completed' or status == 'failed') then
  return 'over'
end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], 'status', ARGV[5])
  redis.call('HDEL', KEYS[1], 'requeued')
  for index = 7, #ARGV, 2 do
    redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
  end
  redis.call('EXPIRE', KEYS[1], ARGV[6])
end
return 'ours'
