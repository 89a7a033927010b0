
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

-- How many runs of a list were created before that time? The list is in the order of their creation.
local function created_before(list, ms)
    local low, high = 0, call('LLEN', list)
    while low < high do
        local middle = math.floor((low + high) / 2)
        local created = tonumber(call('HGET', run_name(call('LINDEX', list, middle)), 'created') or '0')
        if created < ms then low = middle + 1 else high = middle end
    end
    return low
end

local LOOK = 2000 -- runs that one call looks at, so that it keeps nobody waiting

-- One run if it is wanted, appended to out. Returns its state (nil: there is no such run) and when it was created.
local function add_run(out, run, f)
    local raw = call('HMGET', run_name(run), 'state', 'pipeline', 'created', 'finished', 'error', 'rec', 'started', 'delivery')
    if not raw[1] then return end
    if raw[1] == 'waiting' then raw[7] = call('HGET', run_name(run), 'starts') end -- in the place of when it started
    local created = tonumber(raw[3]) or 0
    if (not f.states or f.states[raw[1]]) and (f.pipeline == '' or raw[2] == f.pipeline) and created >= f.since and created < f.till and
        (f.cause == '' or string.find(raw[6] or '', f.cause, 1, true)) then
        local at = #out
        out[at + 1] = run
        for j = 1, 8 do out[at + 1 + j] = raw[j] end
    end
    return raw[1], created
end

-- Along the list of all runs, or of a pipeline's. A cursor is a place in it, as it is counted since the beginning of time.
local function along_list(out, f, cursor, limit)
    local list = f.pipeline == '' and 'hm:runs' or 'hm:runs:' .. f.pipeline
    local base = tonumber(call('HGET', 'hm:runbase', list) or '0')
    local at, looked = base, 0
    if cursor ~= '' then
        at = math.min(base + call('LLEN', list), tonumber(cursor) or 0)
    elseif f.till < math.huge then
        at = base + created_before(list, f.till)
    else
        at = base + call('LLEN', list)
    end
    while at > base and looked < LOOK do
        local low = math.max(base, at - 100)
        local ids = call('LRANGE', list, low - base, at - 1 - base)
        for i = #ids, 1, -1 do
            at = at - 1
            looked = looked + 1
            local _, created = add_run(out, ids[i], f)
            if created and created < f.since then return '' end
            if #out > 9 * limit then return at > base and score_text(at) or '' end
        end
        if #ids == 0 then return '' end
    end
    return at > base and score_text(at) or ''
end

-- The next members of a shelf in falling order of (time, run), from a place on that is itself left out.
local function shelf_page(name, ms, run, since)
    local found = call('ZREVRANGEBYSCORE', name, ms, since, 'WITHSCORES', 'LIMIT', 0, 100)
    local out, full = {}, #found == 200
    for i = 1, #found, 2 do
        if found[i + 1] ~= ms or run == '' or found[i] < run then out[#out + 1] = {found[i], found[i + 1]} end
    end
    if full and #out == 0 then -- more than a page of one millisecond
        found = call('ZRANGE', name, ms, since, 'BYSCORE', 'REV', 'WITHSCORES')
        for i = 1, #found, 2 do
            if found[i + 1] ~= ms or found[i] < run then out[#out + 1] = {found[i], found[i + 1]} end
        end
        full = false
    end
    return {name = name, at = 1, full = full, items = out}
end

-- Along the shelves of the states that are asked for, which are merged. A cursor is "MS<tab>RUN". What does not belong on its shelf any more is taken off it.
local function along_shelves(out, f, cursor, limit)
    local ms, run = string.match(cursor, '^(%d+)\t(.*)$')
    if not ms then
        ms = f.till < math.huge and score_text(f.till - 1) or '+inf'
        run = ''
    end
    local since, shelves, seen = score_text(f.since), {}, {}
    for state in pairs(f.states) do
        local name = shelf_name(state, f.pipeline)
        if not seen[name] then
            shelves[#shelves + 1] = shelf_page(name, ms, run, since)
            seen[name] = state
        end
    end
    for _ = 1, LOOK do
        local best
        for _, shelf in ipairs(shelves) do
            if shelf.at > #shelf.items and shelf.full then
                local last = shelf.items[#shelf.items]
                local more = shelf_page(shelf.name, last[2], last[1], since)
                shelf.items, shelf.full, shelf.at = more.items, more.full, 1
            end
            local item = shelf.items[shelf.at]
            if item and (not best or tonumber(item[2]) > tonumber(best.items[best.at][2]) or
                (item[2] == best.items[best.at][2] and item[1] > best.items[best.at][1])) then best = shelf end
        end
        if not best then return '' end
        local item = best.items[best.at]
        best.at = best.at + 1
        ms, run = item[2], item[1]
        local state = add_run(out, run, f)
        if not state or shelf_name(state, f.pipeline) ~= best.name then call('ZREM', best.name, run) end
        if #out > 9 * limit then return ms .. '\t' .. run end
    end
    return ms .. '\t' .. run
end

-- Runs with a record, newest first. keys: hm:runs*, hm:runbase, hm:run:*
-- args: pipeline or "", cursor or "", limit, states (commas) or "", since ms, until ms (0: all), cause or ""
-- returns: next cursor or "", then for each: run, and its state, pipeline, created, finished, error, record, started, delivery id
local function runs(_, a)
    local f = {pipeline = a[1], since = tonumber(a[5]), till = tonumber(a[6]), cause = a[7] ~= '' and '"cause":"' .. a[7] .. '"' or ''}
    if f.till == 0 then f.till = math.huge end
    if a[4] ~= '' then f.states = {} end
    for state in string.gmatch(a[4], '[^,]+') do f.states[state] = true end
    local out = {''}
    if f.states and not f.states.succeeded then
        out[1] = along_shelves(out, f, a[2], tonumber(a[3]))
    else
        out[1] = along_list(out, f, a[2], tonumber(a[3]))
    end
    return out
end

-- How much waits where. keys: hm:wait:*, hm:dead   args: stage...
-- returns: for each: ready, claimed, parked or delayed, dead
local function map(_, a)
    local now, leased = score_text(now_ms()), score_text(LEASE)
    local dead = {}
    for _, m in ipairs(call('ZREVRANGE', 'hm:dead', 0, 9999)) do
        local stage = string.match(m, '^[^\t]*')
        dead[stage] = (dead[stage] or 0) + 1
    end
    local out = {}
    for _, stage in ipairs(a) do
        local wait = wait_name(stage)
        out[#out + 1] = call('ZCOUNT', wait, '-inf', now)
        out[#out + 1] = call('ZCOUNT', wait, leased, '(inf')
        out[#out + 1] = call('ZCOUNT', wait, 'inf', 'inf') + call('ZCOUNT', wait, '(' .. now, '(' .. leased) -- for another key, for its time
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
