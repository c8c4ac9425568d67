-- Extends a lease by its length. A lease that has ended by its time counts until its job is queued again.
-- KEYS: leases, hash of the lease, hash of the job. ARGV: id of the job, lease, key ('': any lease is accepted), then, to
-- restore a lease that was lost with Redis' data: attempt, milliseconds, seconds to keep the hashes.
-- Returns 'held', 'lost' (another worker has the job, or it is queued), 'foreign' (another key claimed it), 'superseded'
-- (by a later attempt), 'ended' with the type of the event that ended it, or 'unknown' (nothing is known of this job);
-- then, of a lease that is held, its end in Unix milliseconds, the attempt ('' when the entry had none) and the name of
-- the worker.
local lease = redis.call('HMGET', KEYS[2], 'lease', 'ms', 'attempt', 'ended', 'worker', 'key')
local job = redis.call('HMGET', KEYS[3], 'attempt', 'status')

if not lease[1] and not job[1] and not job[2] then
  if not ARGV[4] then
    return {'unknown'}
  end
  lease = {ARGV[2], ARGV[5], ARGV[4], false, false, ARGV[3]}
  redis.call('HSET', KEYS[2], 'lease', ARGV[2], 'ms', ARGV[5], 'attempt', ARGV[4], 'key', ARGV[3])
  redis.call('HSET', KEYS[3], 'status', 'processing', 'heartbeats', '1', 'attempt', ARGV[4])
  redis.call('EXPIRE', KEYS[2], ARGV[6])
  redis.call('EXPIRE', KEYS[3], ARGV[6])
end
if lease[1] ~= ARGV[2] then
  return {'lost'}
end
local key = lease[6] or '' -- a lease that the release before this one made has none
if key ~= '' and ARGV[3] ~= '' and key ~= ARGV[3] then
  return {'foreign'}
end
if lease[4] then
  return {'ended', lease[4]}
end
local attempt, known_attempt = tonumber(lease[3] or ''), tonumber(job[1] or '')
if attempt and known_attempt and known_attempt > attempt then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return {'superseded'}
end
local time = redis.call('TIME')
local expires = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + tonumber(lease[2])
redis.call('ZADD', KEYS[1], expires, ARGV[1])
return {'held', expires, lease[3] or '', lease[5] or ''}
