
-- Retention: what is old, or more than is to be kept, goes. A little with each call, so that nobody waits for it.

-- Which finished runs are next to go? Those in front of hm:runs that are too many or too old, and the parked ones that have ended since.
-- keys: hm:runs, hm:runs.parked, hm:run:*   args: how many to keep, created before (ms), at most so many   returns: run, pipeline, ...
local function old_runs(_, a)
    local out, limit = {}, tonumber(a[3])
    local function add(run)
        out[#out + 1] = run
        out[#out + 1] = call('HGET', run_name(run), 'pipeline') or ''
    end
    for _ = 1, math.min(20, call('LLEN', 'hm:runs.parked')) do
        local run = call('LPOP', 'hm:runs.parked')
        call('RPUSH', 'hm:runs.parked', run)
        if not OPEN[call('HGET', run_name(run), 'state')] then add(run) end
    end
    local over = call('LLEN', 'hm:runs') - tonumber(a[1])
    for i, run in ipairs(call('LRANGE', 'hm:runs', 0, limit - 1)) do
        if i > over and (tonumber(call('HGET', run_name(run), 'created') or '0')) >= tonumber(a[2]) then break end
        add(run)
    end
    return out
end

-- Takes runs off the lists, in the order in which old_runs gave them, with all that is their own. One that is still open is parked and looked at again later.
-- keys: hm:runs*, hm:runbase, hm:run:*, hm:log:*, hm:origin:*, hm:kv:*   args: for each: run, pipeline, number of keys, key...   returns: how many were removed
local function drop_runs(_, a)
    local i, n, off = 1, 0, 0
    while i <= #a do
        local run, pipeline, keys = a[i], a[i + 1], tonumber(a[i + 2])
        local state = call('HGET', run_name(run), 'state')
        local open = OPEN[state]
        if call('LINDEX', 'hm:runs', 0) == run then
            call('LPOP', 'hm:runs')
            off = off + 1
            if open then call('RPUSH', 'hm:runs.parked', run) end
        else
            call('LREM', 'hm:runs.parked', 1, run)
            if open then call('RPUSH', 'hm:runs.parked', run) end
        end
        local list = 'hm:runs:' .. pipeline
        if call('LINDEX', list, 0) == run then
            call('LPOP', list)
            call('HINCRBY', 'hm:runbase', list, 1)
        end
        if FAILED[state] then
            call('ZREM', shelf_name(state, ''), run)
            call('ZREM', shelf_name(state, pipeline), run)
        end
        if not open then
            for j = i + 3, i + 2 + keys do call('UNLINK', kv_name(a[j])) end
            call('UNLINK', run_name(run), 'hm:log:' .. run, 'hm:origin:' .. run, kv_name('run.ended.' .. run))
            n = n + 1
        end
        i = i + 3 + keys
    end
    if off > 0 then call('HINCRBY', 'hm:runbase', 'hm:runs', off) end
    return n
end

-- The ids of a stream's entries are numbers, not times: the first entry that is young enough is found by halving.
local function cut_stream(name, oldest)
    local first = call('XRANGE', name, '-', '+', 'COUNT', 1)[1]
    if not first then return end
    local function at(entry)
        return tonumber(string.match(table.concat(entry[2], ' '), '"at":(%d+)') or 'inf')
    end
    if at(first) >= oldest then return end
    local low = tonumber(string.match(first[1], '^%d+'))
    local last = call('XREVRANGE', name, '+', '-', 'COUNT', 1)[1]
    local high = tonumber(string.match(last[1], '^%d+')) + 1
    while low + 1 < high do
        local middle = math.floor((low + high) / 2)
        local entry = call('XRANGE', name, score_text(middle), '+', 'COUNT', 1)[1]
        if entry and at(entry) < oldest then low = middle else high = middle end
    end
    call('XTRIM', name, 'MINID', score_text(high))
end

-- keys: hm:events, hm:ledger, hm:kept, hm:dead, hm:letters, hm:stat:*   args: oldest event, ledger line, dead letter (ms), oldest day of counts
local function expire(_, a)
    cut_stream('hm:events', tonumber(a[1]))
    cut_stream('hm:ledger', tonumber(a[2]))
    call('XTRIM', 'hm:kept', 'MINID', a[2])
    local old = call('ZRANGEBYSCORE', 'hm:dead', '-inf', '(' .. a[3], 'LIMIT', 0, 500)
    if #old > 0 then
        call('ZREM', 'hm:dead', unpack(old))
        call('HDEL', 'hm:letters', unpack(old))
    end
    local day = tonumber(a[4])
    for d = day - 7, day - 1 do call('UNLINK', 'hm:stat:' .. d) end
    return #old
end

-- Counts of ended runs. keys: hm:stat:*   args: day, day, ...   returns: for each day the whole hash
local function stats(_, a)
    local out = {}
    for i = 1, #a do out[i] = call('HGETALL', 'hm:stat:' .. a[i]) end
    return out
end

register('hm2_old_runs', old_runs)
register('hm2_drop_runs', drop_runs)
register('hm2_expire', expire)
register('hm2_stats', stats)
