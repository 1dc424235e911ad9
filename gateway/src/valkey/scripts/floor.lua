#!lua flags=allow-oom
-- floor: says that nothing below an offset is kept any more, nor filled in. Comes before the memory is freed.
-- KEYS  watermark
-- ARGV  generation, floor offset, floor time (ms: records before it may be missing)
-- reply {'OK', floor offset before} | {'GEN', generation} | {'NOGEN'}
-- cost  O(1)
local w = redis.call('HMGET', KEYS[1], 'g', 'b', 'bt')
if not w[1] then return {'NOGEN'} end
if w[1] ~= ARGV[1] then return {'GEN', w[1]} end
if tonumber(ARGV[2]) >= tonumber(w[2]) then
  redis.call('HSET', KEYS[1], 'b', ARGV[2], 's', ARGV[2])
  if tonumber(ARGV[3]) > tonumber(w[3]) then redis.call('HSET', KEYS[1], 'bt', ARGV[3]) end
end
return {'OK', w[2]}
