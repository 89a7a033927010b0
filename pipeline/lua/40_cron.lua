
-- Schedules. hm:cron has the next fire of each, which only moves from what the mover saw it to be: so one server moves it, and a start that does is the only one
-- of its tick (see begin). hm:cron.spec tells what each meant when it was entered; a server that means something else by a name leaves it alone.
--   hm:cron        zset   schedules by their next fire (ms)
--   hm:cron.spec   hash   expression, zone, and when a server last had it in its configuration: "MS<tab>EXPRESSION<tab>ZONE"
--   hm:cron.missed hash   ticks that came too late
--   hm:cron.last   hash   "RUN<tab>MS" of the last tick

local function spec_of(text) return text and string.match(text, '^%d+\t(.*)$') end

-- Enters schedules. One that is known and has not changed keeps its next fire, so that what was missed meanwhile is seen.
-- keys: hm:cron, hm:cron.spec   args: "" or ms: fires that are due since before are forgotten; then for each: name, spec, next fire
-- returns: how many were entered, changed or forgotten
local function cron_sync(_, a)
    local forget = tonumber(a[1]) or -1
    local now = score_text(now_ms())
    local n = 0
    for i = 2, #a, 3 do
        local score = call('ZSCORE', 'hm:cron', a[i])
        local spec = spec_of(call('HGET', 'hm:cron.spec', a[i]))
        if not score or spec ~= a[i + 1] or tonumber(score) < forget then
            call('ZADD', 'hm:cron', a[i + 2], a[i])
            n = n + 1
        end
        call('HSET', 'hm:cron.spec', a[i], now .. '\t' .. a[i + 1])
    end
    return n
end

-- What is due. keys: hm:cron, hm:cron.spec   args: most
-- returns: now, number of schedules, ms until the next one that is not due (-1: none), then for each: name, instant, spec
local function cron_due(_, a)
    local now = now_ms()
    local text = score_text(now)
    local coming = call('ZRANGEBYSCORE', 'hm:cron', '(' .. text, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    local out = {now, call('ZCARD', 'hm:cron'), coming[2] and math.ceil(tonumber(coming[2]) - now) or -1}
    local due = call('ZRANGEBYSCORE', 'hm:cron', '-inf', text, 'WITHSCORES', 'LIMIT', 0, a[1])
    for i = 1, #due, 2 do
        out[#out + 1] = due[i]
        out[#out + 1] = due[i + 1]
        out[#out + 1] = spec_of(call('HGET', 'hm:cron.spec', due[i])) or ''
    end
    return out
end

-- Moves a tick of which nothing is to come. keys: hm:cron   args: name, instant, next fire   returns: 1 moved, 0 another did
local function cron_move(_, a)
    if call('ZSCORE', 'hm:cron', a[1]) ~= a[2] then return 0 end
    call('ZADD', 'hm:cron', a[3], a[1])
    return 1
end

-- Removes schedules that no server has had in its configuration since. keys: hm:cron, hm:cron.*   args: since (ms) or "inf", then names
-- returns: how many
local function cron_drop(_, a)
    local since = tonumber(a[1]) or math.huge
    local n = 0
    for i = 2, #a do
        local seen = tonumber(string.match(call('HGET', 'hm:cron.spec', a[i]) or '', '^%d+') or '0')
        if seen < since then
            call('ZREM', 'hm:cron', a[i])
            call('HDEL', 'hm:cron.spec', a[i])
            call('HDEL', 'hm:cron.missed', a[i])
            call('HDEL', 'hm:cron.last', a[i])
            n = n + 1
        end
    end
    return n
end

-- Notes what became of ticks. keys: hm:cron.missed, hm:cron.last   args: for each: name, ticks missed, run, instant (ms)
local function cron_told(_, a)
    for i = 1, #a, 4 do
        if a[i + 1] ~= '0' then call('HINCRBY', 'hm:cron.missed', a[i], a[i + 1]) end
        call('HSET', 'hm:cron.last', a[i], a[i + 2] .. '\t' .. a[i + 3])
    end
    return #a / 4
end

-- For lists. keys: hm:cron.missed, hm:cron.last, hm:run:*   args: names
-- returns: now, then for each: ticks missed, last run, its instant (ms), its state (all "" when there is none)
local function cron_view(_, a)
    local out = {now_ms()}
    for i = 1, #a do
        local run, at = string.match(call('HGET', 'hm:cron.last', a[i]) or '', '^(.*)\t(%d+)$')
        out[#out + 1] = call('HGET', 'hm:cron.missed', a[i]) or '0'
        out[#out + 1] = run or ''
        out[#out + 1] = at or ''
        out[#out + 1] = run and call('HGET', run_name(run), 'state') or ''
    end
    return out
end

register('hm2_cron_sync', cron_sync)
register('hm2_cron_due', cron_due)
register('hm2_cron_move', cron_move)
register('hm2_cron_drop', cron_drop)
register('hm2_cron_told', cron_told)
register('hm2_cron_view', cron_view)
