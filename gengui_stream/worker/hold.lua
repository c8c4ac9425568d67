-- Acts on a pending entry of the queue, unless another worker has claimed it in the meantime.
-- KEYS: stream of the queue. ARGV: consumer group, id of the entry, name of the worker, then 'done' to acknowledge and
-- delete the entry, or the milliseconds for which it counts as idle.
-- Returns 1, or 0 when the entry is another worker's.
local stream, group, entry, worker, act = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1)

if pending.err then
  return 1 -- the stream was lost: there is nothing to hold, and no other worker
end
if pending[1] and pending[1][2] ~= worker then
  return 0
end
if act == 'done' then
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
else
  redis.call('XCLAIM', stream, group, worker, 0, entry, 'IDLE', act, 'JUSTID')
end
return 1
