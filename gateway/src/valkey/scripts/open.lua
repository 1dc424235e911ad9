-- open: begins a life of a slot, reading from an offset, if the life the caller saw is still the present one.
-- KEYS  watermark
-- ARGV  generation seen ('' = not open), new generation, floor offset, floor time (ms; 0 = complete),
--       start (offset that filling brings the floor down to), extent (window in ms '/' refs a key lists)
-- reply 'generation next fresh floor-offset floor-time start extent': what is in force afterwards, whoever opened it
-- cost  O(1)
local g = redis.call('HGET', KEYS[1], 'g') or ''
-- A slot that was lost since the caller looked has no life to protect: '' is opened whatever was seen.
if g == ARGV[1] or g == '' then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'g', ARGV[2], 'o', ARGV[3], 'f', '0', 'b', ARGV[3], 'bt', ARGV[4], 's', ARGV[5],
    'k', ARGV[6])
end
return table.concat(redis.call('HMGET', KEYS[1], 'g', 'o', 'f', 'b', 'bt', 's', 'k'), ' ')
