#!lua flags=allow-oom
-- free: takes one record out of every list it is in, and lets its body and its id entries go.
-- KEYS  watermark, body, id entry, id entry, then the lists
-- ARGV  generation, ref (40 B), refs a list holds at most
-- reply {'OK'} | {'GEN', generation} | {'NOGEN'}; only OK changed anything
-- cost  O(lists * refs)
local g = redis.call('HGET', KEYS[1], 'g')
if not g then return {'NOGEN'} end
if g ~= ARGV[1] then return {'GEN', g} end
redis.call('UNLINK', KEYS[2])
for i = 3, 4 do
  -- Another record with the same id keeps its entry.
  if redis.call('GET', KEYS[i]) == ARGV[2] then redis.call('DEL', KEYS[i]) end
end
for i = 5, #KEYS do
  local at = redis.call('LPOS', KEYS[i], ARGV[2])
  if at and redis.call('LLEN', KEYS[i]) >= tonumber(ARGV[3]) then
    -- A list that was cut must not look as if it was not: only where and when is left.
    redis.call('LSET', KEYS[i], at, string.sub(ARGV[2], 1, 16) .. string.rep('\0', 24))
  elseif at then
    redis.call('LREM', KEYS[i], 1, ARGV[2])
  end
end
return {'OK'}
