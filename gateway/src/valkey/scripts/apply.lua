-- apply: lists records, in the order of the log, and moves the watermark behind them, in one step.
-- KEYS  watermark, then one list per (record, key) by rising offset, then two entries per record: of its id alone, and
--       of its (source, id), which it gets only where another source's record has the first
--       (the last ref of a list that is full is never shown: its time is the newest of all that were cut)
-- ARGV  generation, from, to, fresh (ms; '' = not known), refs a list holds at most, number of lists,
--       then for each list and each two entries: ref (40 B: the first 8 its offset, the last 16 the digest of its
--       (source, id)), expiry (ms since 1970)
-- reply {'OK'} | {'GAP', next} | {'GEN', generation} | {'NOGEN'}; only OK changed anything
-- cost  O(keys), each O(1)
local w = redis.call('HMGET', KEYS[1], 'g', 'o', 'f')
if not w[1] then return {'NOGEN'} end
if w[1] ~= ARGV[1] then return {'GEN', w[1]} end
local next, to, most, lists = tonumber(w[2]), tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
if tonumber(ARGV[2]) > next then return {'GAP', w[2]} end
for n = 1, (#ARGV - 6) / 2 do
  local ref, expiry = ARGV[5 + 2 * n], ARGV[6 + 2 * n]
  if struct.unpack('>i8', ref) >= next then
    if n > lists then
      local i = 2 * n - lists
      local first = redis.call('SET', KEYS[i], ref, 'NX', 'GET', 'PXAT', expiry)
      if first and string.sub(first, 25) ~= string.sub(ref, 25) then
        redis.call('SET', KEYS[i + 1], ref, 'NX', 'PXAT', expiry)
      end
    else
      local i = n + 1
      local length = redis.call('LPUSH', KEYS[i], ref)
      if length > most then
        local cut, last = redis.call('RPOP', KEYS[i]), redis.call('LINDEX', KEYS[i], -1)
        if struct.unpack('>i8', cut, 9) > struct.unpack('>i8', last, 9) then
          redis.call('LSET', KEYS[i], -1, string.sub(last, 1, 8) .. string.sub(cut, 9, 16) .. string.sub(last, 17))
        end
      end
      -- GT alone would leave a fresh list without expiry.
      if length == 1 then
        redis.call('PEXPIREAT', KEYS[i], expiry)
      else
        redis.call('PEXPIREAT', KEYS[i], expiry, 'GT')
      end
    end
  end
end
-- The strings as given: a Lua number would come back rounded.
if to > next then redis.call('HSET', KEYS[1], 'o', ARGV[3]) end
if ARGV[4] ~= '' and tonumber(ARGV[4]) > tonumber(w[3]) then redis.call('HSET', KEYS[1], 'f', ARGV[4]) end
return {'OK'}
