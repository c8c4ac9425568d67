-- Writes the status into a job's hash, if the job is still the worker's.
-- KEYS: hash of the job. ARGV: attempt ('' when the entry had none), status ('' only reads), seconds to keep the hash,
-- then further names and values. Returns 'ours', 'canceled', or 'over' (it has ended, or a later attempt has started).
local known = redis.call('HMGET', KEYS[1], 'attempt', 'status')
local attempt, known_attempt, status = tonumber(ARGV[1]), tonumber(known[1] or ''), known[2]

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
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'status', ARGV[2])
  for index = 4, #ARGV, 2 do
    redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
  end
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return 'ours'
