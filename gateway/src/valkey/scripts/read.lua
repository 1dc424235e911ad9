-- read: a list or an id entry, and the watermark of the same moment.
-- KEYS  watermark [, list or id entry]
-- ARGV  generation ('' = not known), what: 'list' | 'id' | 'none' [, refs at most]
-- reply {} (not open) | {watermark} (another life than the caller named it by, or none asked for)
--       | {watermark, length, {ref, ...}}; watermark = {generation, next, fresh, floor offset, floor time}
-- cost  O(refs)
local w = redis.call('HMGET', KEYS[1], 'g', 'o', 'f', 'b', 'bt')
if not w[1] then return {} end
if ARGV[2] == 'none' or w[1] ~= ARGV[1] then return {w} end
if ARGV[2] == 'list' then
  return {w, redis.call('LLEN', KEYS[2]), redis.call('LRANGE', KEYS[2], 0, ARGV[3] - 1)}
end
local ref = redis.call('GET', KEYS[2])
if ref then return {w, 1, {ref}} end
return {w, 0, {}}
