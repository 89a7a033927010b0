
-- Reads values. keys: hm:kv:*   args: "1" with values | "0" sizes only, key, ...   returns: for each: value or size (nil: none), version, meta
local function peek(_, a)
    local out = {}
    for i = 2, #a do
        local raw = fields_of(a[i], 'version', 'meta', a[1] == '1' and 'value' or 'version')
        local at = #out
        if a[1] == '1' then
            out[at + 1] = raw[3] or false
        else
            out[at + 1] = raw[1] == nil and 0 or call('HSTRLEN', kv_name(a[i]), 'value')
        end
        out[at + 2] = raw[1] or false
        out[at + 3] = raw[2] or false
    end
    return out
end

-- A server's heartbeat: it gets a slot (0: a new one), and learns which others stopped to beat.
-- keys: hm:slot, hm:servers   args: slot, ms without a beat that mean dead   returns: slot, dead slots...
local function beat(_, a)
    local slot = tonumber(a[1])
    if slot == 0 then slot = call('INCR', 'hm:slot') % 500 + 1 end
    local ms = now_ms()
    call('ZADD', 'hm:servers', ms, slot)
    local out = {slot}
    for _, dead in ipairs(call('ZRANGEBYSCORE', 'hm:servers', '-inf', ms - tonumber(a[2]))) do
        out[#out + 1] = tonumber(dead)
    end
    return out
end

-- keys: hm:servers   args: slot
local function leave(_, a) return call('ZREM', 'hm:servers', a[1]) end

-- Is what stands here of a form that this version reads? keys: hm:format, hm:seq   args: none   may fail: FORMAT
local function open()
    local format = call('GET', 'hm:format') or call('EXISTS', 'hm:seq') == 1 and '0' or false
    if not format or format == '1' then -- 2 only adds to 1
        call('SET', 'hm:format', FORMAT)
    elseif format ~= FORMAT then
        return redis.error_reply('FORMAT the data in this Redis is of format ' .. format .. ' and this hookmesh reads format ' .. FORMAT ..
            '; give it a Redis or a data directory of its own')
    end
    return FORMAT
end

-- A run as it stands now. keys: hm:run:RUN, hm:wait:*, hm:tries:*, hm:kv:*, hm:letters
-- args: run, then for each step: stage, input key, output key or ""
-- returns: now, record as field, value, ... (one array), then for each step: score or nil, failed attempts or nil, input version, input size,
--   output version, output size, dead letter or nil
local function view(_, a)
    local out = {now_ms(), call('HGETALL', run_name(a[1]))}
    for i = 2, #a, 3 do
        local at = #out
        local inp = fields_of(a[i + 1], 'version', 'meta')
        local outp = a[i + 2] ~= '' and fields_of(a[i + 2], 'version', 'meta') or {}
        out[at + 1] = call('ZSCORE', wait_name(a[i]), a[i + 1])
        out[at + 2] = call('HGET', tries_name(a[i]), a[i + 1])
        out[at + 3] = inp[1] or false
        out[at + 4] = inp[1] == nil and 0 or call('HSTRLEN', kv_name(a[i + 1]), 'value')
        out[at + 5] = outp[1] or false
        out[at + 6] = outp[1] == nil and 0 or call('HSTRLEN', kv_name(a[i + 2]), 'value')
        out[at + 7] = call('HGET', 'hm:letters', a[i] .. '\t' .. a[i + 1])
        out[at + 8] = inp[2] or false
        out[at + 9] = outp[2] or false
    end
    return out
end

-- Runs with a record, newest first. keys: hm:runs*, hm:runbase, hm:run:*
-- args: pipeline or "", cursor (a place in the list, as it is counted since the beginning of time) or "", limit, state or "", since ms
-- returns: next cursor or "", then for each: run, and its state, pipeline, created, finished, error, record, started, delivery id
local function runs(_, a)
    local set = a[1] == '' and 'hm:runs' or 'hm:runs:' .. a[1]
    local limit, since = tonumber(a[3]), tonumber(a[5])
    local base = tonumber(call('HGET', 'hm:runbase', set) or '0')
    local at = base + call('LLEN', set)
    if a[2] ~= '' then at = math.min(at, tonumber(a[2]) or 0) end
    local out, n, looked = {''}, 0, 0
    while n < limit and looked < 5000 and at > base do
        local low = math.max(base, at - 100)
        local ids = call('LRANGE', set, low - base, at - 1 - base)
        for i = #ids, 1, -1 do
            at = at - 1
            looked = looked + 1
            local raw = call('HMGET', run_name(ids[i]), 'state', 'pipeline', 'created', 'finished', 'error', 'rec', 'started', 'delivery')
            if raw[3] and tonumber(raw[3]) < since then return out end
            if raw[1] and (a[4] == '' or raw[1] == a[4]) then
                out[#out + 1] = ids[i]
                for j = 1, 8 do out[#out + 1] = raw[j] end
                n = n + 1
                if n == limit then break end
            end
        end
        if #ids == 0 then break end
    end
    if at > base then out[1] = score_text(at) end
    return out
end

-- How much waits where. keys: hm:wait:*, hm:dead   args: stage...
-- returns: for each: ready, claimed or delayed, parked, dead
local function map(_, a)
    local now = score_text(now_ms())
    local dead = {}
    for _, m in ipairs(call('ZREVRANGE', 'hm:dead', 0, 9999)) do
        local stage = string.match(m, '^[^\t]*')
        dead[stage] = (dead[stage] or 0) + 1
    end
    local out = {}
    for _, stage in ipairs(a) do
        local wait = wait_name(stage)
        out[#out + 1] = call('ZCOUNT', wait, '-inf', now)
        out[#out + 1] = call('ZCOUNT', wait, '(' .. now, '(inf') -- later, or claimed
        out[#out + 1] = call('ZCOUNT', wait, 'inf', 'inf')
        out[#out + 1] = dead[stage] or 0
    end
    return out
end

register('hm2_open', open)
register('hm2_view', view)
register('hm2_runs', runs)
register('hm2_map', map)
register('hm2_peek', peek)
register('hm2_beat', beat)
register('hm2_leave', leave)
