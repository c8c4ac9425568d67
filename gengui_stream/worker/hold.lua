-- Acts on a pending entry of the queue, unless another worker has claimed it in the meantime.
-- KEYS: stream of the queue. ARGV: consumer group, id of the entry, name of the worker, the idle time in milliseconds
-- that marks a released entry, then 'done' to acknowledge and delete the entry, 'release', or 'heartbeat'.
-- Returns 1, or 0 when the entry is another worker's or released: a heartbeat that arrives after the release, on another
-- connection, does not take the entry back.
local stream, group, entry, worker, released, act = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1)

if pending.err then
  return 1 -- the stream was lost: there is nothing to hold, and no other worker
end
if pending[1] and pending[1][2] ~= worker then
  return 0
end
if act == 'heartbeat' and pending[1] and pending[1][3] >= tonumber(released) then
  return 0
end
if act == 'done' then
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
else
  redis.call('XCLAIM', stream, group, worker, 0, entry, 'IDLE', act == 'release' and released or '0', 'JUSTID')
end
return 1
