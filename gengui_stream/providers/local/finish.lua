-- Ends a lease whose job has ended, so that the job is not queued again.
-- KEYS: leases, hash of the lease, hash of the job. ARGV: id of the job, lease, type of the event that ended it, then
-- names and values for the hash of the job.
local lease = redis.call('HMGET', KEYS[2], 'lease', 'attempt')
if lease[1] ~= ARGV[2] then
  return
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], 'entry')
redis.call('HSET', KEYS[2], 'ended', ARGV[3])
local known = redis.call('HGET', KEYS[3], 'attempt')
if #ARGV > 3 and (not known or not lease[2] or lease[2] == '' or known == lease[2]) then
  for index = 4, #ARGV, 2 do
    redis.call('HSET', KEYS[3], ARGV[index], ARGV[index + 1])
  end
end
