-- read: a list or an id entry, and the watermark of the same moment.
-- KEYS  watermark [, list or id entries]
-- ARGV  generation ('' = not known), what: 'list' | 'id' | 'none' [, refs wanted, refs the caller shows at most]
-- reply {} (not open) | {watermark} (another life than the caller named it by, or none asked for)
--       | {watermark, length, refs, cut}; watermark = 'generation next fresh floor-offset floor-time start extent',
--       refs = one behind the other (40 B each), cut = those behind what is shown at most, in the same way
-- cost  O(refs)
local w = redis.call('HMGET', KEYS[1], 'g', 'o', 'f', 'b', 'bt', 's', 'k')
if not w[1] then return {} end
-- One text, not many: to take many apart costs the caller more than all the rest.
local watermark = table.concat(w, ' ')
if ARGV[2] == 'none' or w[1] ~= ARGV[1] then return {watermark} end
if ARGV[2] == 'id' then
  local refs = ''
  for i = 2, #KEYS do refs = refs .. (redis.call('GET', KEYS[i]) or '') end
  return {watermark, #refs / 40, refs, ''}
end
local length, cut = redis.call('LLEN', KEYS[2]), ''
local most = math.min(ARGV[4], string.match(w[7], '%d+$'))
if length > most then cut = table.concat(redis.call('LRANGE', KEYS[2], most, -1)) end
return {watermark, length, table.concat(redis.call('LRANGE', KEYS[2], 0, ARGV[3] - 1)), cut}
