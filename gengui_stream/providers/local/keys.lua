-- The keys that leases are bound to. KEYS: the hashes of the leases.
-- Returns one for each hash, in their order: '' where no lease is held, or it is bound to none.
local found = {}
for number, hash in ipairs(KEYS) do
  local lease = redis.call('HMGET', hash, 'key', 'ended')
  found[number] = not lease[2] and lease[1] or ''
end
return found
