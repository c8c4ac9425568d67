-- Adds an attempt to the queue and its state to the job's hash, atomically. Idempotent.
-- KEYS: hash of the job, stream of the queue, index of the model. ARGV: attempt, seconds to keep the hash, the longest
-- index, then names and values for the entry.
-- Returns 'queued', 'known', 'canceled' or 'superseded', and the id of the entry.
local attempt = tonumber(ARGV[1])
local known = redis.call('HMGET', KEYS[1], 'attempt', 'status', 'entryId')
local known_attempt, status, entry = tonumber(known[1] or ''), known[2], known[3]

if known_attempt and known_attempt > attempt then
  return {'superseded', ''}
end
if known_attempt == attempt then
  if status == 'canceled' then
    return {'canceled', entry or ''}
  end
  -- A queued entry that is missing was lost with the stream: only then is it added again.
  if entry and (status ~= 'queued' or #redis.call('XRANGE', KEYS[2], entry, entry) == 1) then
    return {'known', entry}
  end
end

local fields = {}
for index = 4, #ARGV do
  fields[#fields + 1] = ARGV[index]
end
local added = redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'status', 'queued', 'attempt', ARGV[1], 'entryId', added)
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('RPUSH', KEYS[3], added)
redis.call('LTRIM', KEYS[3], '-' .. ARGV[3], -1)
redis.call('EXPIRE', KEYS[3], ARGV[2])
return {'queued', added}
