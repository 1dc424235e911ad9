-- fill: lists records just below the floor, behind those that are listed, and brings the floor down, in one step.
-- KEYS  watermark, then one list per (record, key) by FALLING offset, then two entries per record, as for apply
--       (the last ref of a list that is full is never shown: its time is the newest of all that were cut)
-- ARGV  generation, from, to, floor time afterwards (ms; '' = as before), refs a list holds at most, number of lists,
--       then for each list and each two entries: ref (40 B), expiry (ms since 1970)
-- reply {'OK'} | {'FLOOR', floor} | {'GEN', generation} | {'NOGEN'}; only OK changed anything
-- cost  O(keys), each O(1)
local w = redis.call('HMGET', KEYS[1], 'g', 'b', 's')
if not w[1] then return {'NOGEN'} end
if w[1] ~= ARGV[1] then return {'GEN', w[1]} end
-- Only what ends at the floor: no hole, and nothing twice.
if tonumber(ARGV[3]) ~= tonumber(w[2]) then return {'FLOOR', w[2]} end
-- A floor that rose does not come down again: refs below it are still listed.
if tonumber(ARGV[2]) < tonumber(w[3]) then return {'FLOOR', w[2]} end
local most, lists = tonumber(ARGV[5]), tonumber(ARGV[6])
for n = 1, (#ARGV - 6) / 2 do
  local ref, expiry = ARGV[5 + 2 * n], ARGV[6 + 2 * n]
  local i = n > lists and 2 * n - lists or n + 1
  if n > lists then
    local first = redis.call('SET', KEYS[i], ref, 'NX', 'GET', 'PXAT', expiry)
    if first then
      -- The older record wins, but of its own source only.
      local same = string.sub(first, 25) == string.sub(ref, 25)
      redis.call('SET', KEYS[same and i or i + 1], ref, 'PXAT', expiry)
    end
  elseif redis.call('LLEN', KEYS[i]) < most then
    -- A list that is full may have been cut, and nothing follows behind a cut.
    if redis.call('RPUSH', KEYS[i], ref) == 1 then
      redis.call('PEXPIREAT', KEYS[i], expiry)
    else
      redis.call('PEXPIREAT', KEYS[i], expiry, 'GT')
    end
  else
    local last = redis.call('LINDEX', KEYS[i], -1)
    if struct.unpack('>i8', ref, 9) > struct.unpack('>i8', last, 9) then
      redis.call('LSET', KEYS[i], -1, string.sub(last, 1, 8) .. string.sub(ref, 9, 16) .. string.sub(last, 17))
    end
  end
end
redis.call('HSET', KEYS[1], 'b', ARGV[2])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'bt', ARGV[4]) end
return {'OK'}
