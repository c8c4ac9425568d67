-- Marks an attempt as canceled, also one that is not queued yet, which prevents it from being queued. Idempotent.
-- KEYS: hash of the job, stream of the queue. ARGV: attempt, seconds to keep the hash.
-- Returns 'stopped' (no worker had taken it), 'asked' (a worker has it, and reads the mark) or 'over' (already ended).
local attempt = tonumber(ARGV[1])
local known = redis.call('HMGET', KEYS[1], 'attempt', 'status', 'entryId', 'canceled')
local known_attempt, status, entry, answer = tonumber(known[1] or ''), known[2], known[3], known[4]

if known_attempt and known_attempt > attempt then
  return 'over'
end
if known_attempt == attempt and (status == 'completed' or status == 'failed') then
  return 'over'
end
if known_attempt == attempt and answer then
  redis.call('HSET', KEYS[1], 'status', 'canceled')
  return answer
end

answer = 'stopped'
if known_attempt == attempt and status ~= 'queued' then
  answer = 'asked'
elseif entry then
  redis.call('XDEL', KEYS[2], entry)
end
redis.call('HSET', KEYS[1], 'status', 'canceled', 'attempt', ARGV[1], 'canceled', answer)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return answer
