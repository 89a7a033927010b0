
-- Is a lane full? Runs that are not open any more (their record may be gone) give up their place first.
local function lane_full(lane, limit)
    local set = lane_name(lane)
    if call('SCARD', set) < limit then return false end
    for _, run in ipairs(call('SMEMBERS', set)) do
        if not OPEN[call('HGET', run_name(run), 'state')] then call('SREM', set, run) end
    end
    return call('SCARD', set) >= limit
end

-- When may the next start under a rate limit be? At most `limit` in any period. It is entered at once.
local function rate_at(name, limit, period, ms)
    local list = 'hm:rate:' .. name
    local at = ms
    if call('LLEN', list) >= limit then at = math.max(ms, tonumber(call('LINDEX', list, -limit)) + period) end
    call('RPUSH', list, score_text(at))
    call('LTRIM', list, -limit, -1)
    call('PEXPIRE', list, score_text(at - ms + period))
    return at
end

-- Does a start become the new input of a run that still waits to be quiet? Returns that run.
local function debounce(g, key, feeds, run, ms)
    local name = 'hm:debounce:' .. g.debounce
    local known = call('GET', name)
    if known then
        local old, first, old_key = string.match(known, '^([^\t]*)\t(%d+)\t(.*)$')
        local stage = string.match(feeds, '^[^\t]+')
        local score = stage and call('ZSCORE', wait_name(stage), old_key)
        score = score and score ~= 'inf' and tonumber(score)
        if score and score > ms and score < LEASE then
            local at = ms + g.debounce_ms
            if g.debounce_max_ms > 0 then at = math.min(at, tonumber(first) + g.debounce_max_ms) end
            local raw = fields_of(key, 'value', 'meta')
            local sum, encoding = string.match(raw[2] or '', '^([^:]*):%d+:%d+:(.*)$')
            write_value(kv_name(old_key), version_of(kv_name(old_key)), raw[1] or '', sum or '*', encoding or '', next_seq())
            call('UNLINK', kv_name(key))
            for target in string.gmatch(feeds, '[^\t]+') do
                call('ZADD', wait_name(target), score_text(at), old_key)
                ring(target)
            end
            call('HSET', run_name(old), 'starts', score_text(at))
            call('PEXPIRE', name, score_text(at - ms + 1000))
            return old
        end
    end
    call('SET', name, run .. '\t' .. score_text(ms) .. '\t' .. key, 'PX', score_text(g.debounce_ms + 1000))
end

-- Ends the open runs of a lane for the one that takes their place. steps: stage, key with {1} for the run, ...
local function replace(lane, run, steps, ms, lines)
    local gone = {}
    for _, old in ipairs(call('SMEMBERS', lane_name(lane))) do
        local state = call('HGET', run_name(old), 'state')
        if old ~= run and OPEN[state] then
            for i = 1, #steps, 2 do
                local key = string.gsub(steps[i + 1], '{1}', function() return old end)
                call('ZREM', wait_name(steps[i]), key)
                call('HDEL', tries_name(steps[i]), key)
            end
            local pipeline = call('HGET', run_name(old), 'pipeline') or ''
            local err = '"replaced by the run ' .. run .. '"'
            conclude(old, pipeline, 'cancelled', ms, err, '', '')
            tell_cancelled(old)
            lines[#lines + 1] = 'run.failed\t' .. old .. '\t\t{"pipeline":"' .. pipeline .. '","state":"cancelled","error":' .. err ..
                ',"finished":' .. score_text(ms) .. ',"at":' .. score_text(ms) .. '}\n'
            gone[#gone + 1] = old
        end
    end
    return gone
end

local NO_GATE = {}

-- Starts runs: judged by their gates and for duplicates, input key written, run recorded, stages fed, ledger and events appended.
-- Lua hashes every byte of every string, so the large ones stay out of here: an input whose key has the run's id in it was written
-- by a plain HSET in the same MULTI, and is taken back when nothing comes of the start.
-- keys: hm:dup:*, hm:run:*, hm:runs*, hm:kv:*, hm:wait:*, hm:ledger, hm:seq, hm:events, hm:lane:*, hm:queue:*, hm:rate:*, hm:debounce:*, hm:cron
-- args: epoch, events kept, ledger kept, dedupe window ms, then for each: run, delivery id (no ledger line without), name under which it happens once or "", key,
--   feeds, pipeline, what is known of it (JSON without its end), value, sum, encoding if the input is still to be written (sum "" if not), gate as JSON or ""
-- returns: for each "1" (or "1<tab>RUN..." when these were replaced), "dRUN" duplicate of, "jRUN" joined, "sREASON" skipped, "g" gone, "c" known with another sum
-- may fail: STALE
local function begin(_, a)
    local wrong = stale(a[1])
    if wrong then return wrong end
    local ms = now_ms()
    local now = score_text(ms)
    local seq = next_seq()
    local adds, lines, ledger, out, runs, opened = {}, {}, {}, {}, {}, {}
    local events = 0
    for i = 5, #a, 11 do
        local run, delivery, key, feeds, pipeline, rec = a[i], a[i + 1], a[i + 3], a[i + 4], a[i + 5], a[i + 6]
        local g = a[i + 10] ~= '' and cjson.decode(a[i + 10]) or NO_GATE
        local answer, duplicate
        if g.tick and call('ZSCORE', 'hm:cron', g.tick) ~= g.due then
            answer = call('EXISTS', run_name(run)) == 1 and '1' or 'g'
        elseif a[i + 2] ~= '' then
            local name = 'hm:dup:' .. a[i + 2]
            local mine = g.sum and run .. ' ' .. g.sum or run
            local old = call('SET', name, mine, 'NX', 'GET', 'PX', g.once_ms or a[4])
            if old == mine then
                answer = '1' -- stored before: the answer got lost, or it comes from the spool
            elseif old then
                local other, sum = string.match(old, '^([^ ]*) ?(.*)$')
                if g.sum and sum ~= g.sum then
                    answer = 'c'
                elseif delivery ~= '' and FAILED[call('HGET', run_name(other), 'state') or 'skipped'] then
                    call('SET', name, mine, 'PX', a[4]) -- a sender that repeats what failed means another attempt
                else
                    duplicate = other
                    answer = 'd' .. other
                end
            end
        elseif call('EXISTS', run_name(run)) == 1 then
            answer = '1'
        end
        if answer and answer ~= '1' and a[i + 8] == '' then call('UNLINK', kv_name(key)) end
        if duplicate and delivery ~= '' then
            local line = rec .. ',"id":"' .. delivery .. '","outcome":"duplicate","run":"' .. duplicate ..
                '","status":200,"reason":"the same delivery id came before","at":' .. now .. '}'
            ledger[#ledger + 1] = line
            lines[#lines + 1] = 'delivery\t' .. duplicate .. '\t\t'
            lines[#lines + 1] = line
            lines[#lines + 1] = '\n'
            events = events + 1
        end
        if not answer then
            if g.tick then call('ZADD', 'hm:cron', g.next, g.tick) end
            if a[i + 8] ~= '' then write_value(kv_name(key), version_of(kv_name(key)), a[i + 7], a[i + 8], a[i + 9], seq) end
            local skip, joined, at, full = g.skip, nil, ms, false
            local replaced = {}
            if not skip and g.lane then
                full = g.full ~= 'join' and lane_full(g.lane, g.limit)
                if full and g.full == 'skip' then
                    skip = 'the run ' .. (call('SRANDMEMBER', lane_name(g.lane)) or '?') .. ' of this job is still open'
                end
            end
            if not skip and g.debounce then joined = debounce(g, key, feeds, run, ms) end
            local state, open = 'queued', 0
            if joined then
                answer = 'j' .. joined
                state = call('HGET', run_name(joined), 'state') or 'queued'
            elseif skip then
                answer = 's' .. skip
                state = 'skipped'
                if a[i + 8] == '' then call('UNLINK', kv_name(key)) end
            else
                if g.rate then at = rate_at(g.rate, g.rate_limit, g.rate_ms, ms) end
                if g.debounce then at = math.max(at, ms + g.debounce_ms) end
                if g.delay then at = math.max(at, ms + g.delay) end
                for _ in string.gmatch(feeds, '[^\t]+') do open = open + 1 end
                if open == 0 then
                    state = 'succeeded'
                elseif at > ms then
                    state = 'waiting'
                end
            end
            local target = joined or run
            local shown = rec
            if not joined then
                if delivery ~= '' then
                    call('HSET', run_name(run), 'pipeline', pipeline, 'state', state, 'open', open, 'created', now, 'delivery', delivery, 'rec', rec)
                else
                    call('HSET', run_name(run), 'pipeline', pipeline, 'state', state, 'open', open, 'created', now, 'rec', rec)
                end
                if state == 'waiting' then call('HSET', run_name(run), 'starts', score_text(at)) end
                local list = runs[pipeline]
                if not list then
                    list = {}
                    runs[pipeline] = list
                end
                list[#list + 1] = run
                if open > 0 then
                    opened[#opened + 1] = now
                    opened[#opened + 1] = run
                end
            end
            if skip then
                local reason = cjson.encode(skip)
                call('HSET', run_name(run), 'state', 'queued')
                conclude(run, pipeline, 'skipped', ms, reason, g.after_skip or '', '')
                shown = rec .. ',"error":' .. reason .. ',"finished":' .. now
            elseif state == 'waiting' then
                shown = rec .. ',"starts":' .. (joined and call('HGET', run_name(joined), 'starts') or score_text(at))
            end
            if not joined and not skip then
                if full and g.full == 'replace' then
                    replaced = replace(g.lane, run, g.steps, ms, lines)
                    events = events + #replaced
                    full = false
                end
                if full then
                    call('RPUSH', queue_name(g.lane), score_text(at) .. '\t' .. run .. '\t' .. key .. '\t' .. feeds)
                    for stage in string.gmatch(feeds, '[^\t]+') do call('ZADD', wait_name(stage), 'inf', key) end
                elseif at > ms or g.prio then
                    -- What is ready is taken by its score: a higher priority comes from further in the past.
                    local score = at > ms and at or ms - g.prio * 10000000000000
                    for stage in string.gmatch(feeds, '[^\t]+') do
                        call('ZADD', wait_name(stage), score_text(score), key)
                        ring(stage)
                    end
                else
                    feed(adds, feeds, key)
                end
                if g.lane then
                    call('HSET', run_name(run), 'lane', g.limit .. '\t' .. g.lane)
                    if not full then call('SADD', lane_name(g.lane), run) end
                end
                if g.late then
                    local opened = 'run.open.' .. run
                    write_value(kv_name(opened), 0, '{"run":"' .. run .. '","pipeline":"' .. pipeline .. '","created":' .. now .. '}', '*', '', seq)
                    call('HSET', run_name(run), 'late', 1)
                    for j = 1, #g.late, 2 do
                        call('ZADD', wait_name(g.late[j]), score_text(at + g.late[j + 1]), opened)
                        ring(g.late[j])
                    end
                end
                -- With nothing to do there is nothing to count; only a place that it took is given back.
                if open == 0 and g ~= NO_GATE then conclude(run, pipeline, state, ms, '', '', '') end
                answer = '1'
                for _, old in ipairs(replaced) do answer = answer .. '\t' .. old end
            end
            local tail = '","state":"' .. state .. '","at":' .. now .. '}'
            if delivery == '' then
                lines[#lines + 1] = (skip and 'run.skipped\t' or 'run.queued\t') .. target .. '\t' .. key .. '\t'
                lines[#lines + 1] = shown .. ',"pipeline":"' .. pipeline .. tail
                events = events + 1
            else
                local line = shown .. ',"id":"' .. delivery .. '","outcome":"accepted","run":"' .. target .. '","status":202' ..
                    (joined and ',"reason":"joined a run that still waits (debounce)"' or '') .. ',"pipeline":"' .. pipeline .. tail
                ledger[#ledger + 1] = line
                if joined or skip then
                    lines[#lines + 1] = 'delivery\t' .. target .. '\t\t' .. line .. '\n'
                    lines[#lines + 1] = (skip and 'run.skipped\t' or 'run.queued\t') .. target .. '\t' .. key .. '\t'
                else
                    lines[#lines + 1] = 'accepted\t' .. run .. '\t' .. key .. '\t' -- read as two events: delivery and run.queued
                end
                lines[#lines + 1] = line
                events = events + 2
            end
            lines[#lines + 1] = '\n'
        end
        out[#out + 1] = answer
    end
    for pipeline, list in pairs(runs) do list_runs(pipeline, list) end
    if #opened > 0 then call('ZADD', 'hm:runs@open', unpack(opened)) end
    enter(ledger, a[3])
    flush_feeds(adds, ms)
    emit(lines, a[2], events)
    return out
end

-- Deliveries that started nothing. keys: hm:ledger, hm:kept, hm:seq, hm:events
-- args: events kept, ledger kept, bodies kept, then for each: line without its end, id, hook, headers JSON, body or ""
local function ledger(_, a)
    local at = score_text(now_ms())
    local all, lines = {}, {}
    for i = 4, #a, 5 do
        local line = a[i] .. ',"at":' .. at .. '}'
        all[#all + 1] = line
        lines[#lines + 1] = 'delivery\t\t\t' .. line .. '\n'
        if a[i + 4] ~= '' then
            call('XADD', 'hm:kept', 'MAXLEN', '~', a[3], '*', 'id', a[i + 1], 'hook', a[i + 2], 'headers', a[i + 3], 'body', a[i + 4])
        end
    end
    enter(all, a[2])
    emit(lines, a[1], #lines)
    return #all
end

-- Log lines of runs. keys: hm:log:*, hm:seq, hm:events   args: events kept, lines kept, seconds kept, then for each: run, stage, line, line as JSON string
local function log(_, a)
    local at = score_text(now_ms())
    local lines = {}
    for i = 4, #a, 4 do
        local name = 'hm:log:' .. a[i]
        call('XADD', name, 'MAXLEN', '~', a[2], '*', 's', a[i + 1], 'l', a[i + 2])
        call('EXPIRE', name, a[3]) -- a document has no record that would take its log with it
        lines[#lines + 1] = 'log\t' .. a[i] .. '\t\t{"stage":"' .. a[i + 1] .. '","line":' .. a[i + 3] .. ',"at":' .. at .. '}\n'
    end
    emit(lines, a[1], #lines)
    return #lines
end

-- Takes a failed run up again at the steps that failed, or from its input.
-- keys: hm:run:RUN, hm:dead, hm:letters, hm:wait:*, hm:seq, hm:events
-- args: events kept, run, from_start (0|1), input key, its stages (tab)
-- returns: steps started again; -1: no such run; -2: it did not fail
local function retry(_, a)
    local record = run_name(a[2])
    local state = call('HGET', record, 'state')
    if not state then return -1 end
    local ms = now_ms()
    local all = call('HGETALL', record)
    local dead, asides = {}, {}
    for i = 1, #all, 2 do
        local stage = string.match(all[i], '^dead:(.*)$')
        if stage then
            local list = string.find(all[i + 1], '^run%.ended%.') and asides or dead
            list[#list + 1] = {stage, all[i + 1]}
        end
    end
    -- What follows its end failed, and not the run: only that is done again.
    if a[3] == '0' and not FAILED[state] then
        if #asides == 0 then return -2 end
        for _, d in ipairs(asides) do
            revive(d[1], d[2])
            call('HDEL', record, 'dead:' .. d[1])
            call('ZADD', wait_name(d[1]), score_text(ms), d[2])
            ring(d[1])
        end
        return #asides
    end
    if a[3] == '1' and OPEN[state] then return -2 end
    local n = 0
    local function again(stage, key)
        call('HSET', tries_name(stage), key, 0)
        n = n + call('ZADD', wait_name(stage), score_text(ms), key)
        ring(stage)
    end
    local lane = call('HGET', record, 'lane')
    if a[3] == '1' or #dead == 0 then
        if call('EXISTS', kv_name(a[4])) == 0 then return -1 end
        for _, d in ipairs(dead) do revive(d[1], d[2]) end
        for stage in string.gmatch(a[5], '[^\t]+') do again(stage, a[4]) end
    else
        for _, d in ipairs(dead) do
            revive(d[1], d[2])
            again(d[1], d[2])
        end
    end
    for _, d in ipairs(dead) do call('HDEL', record, 'dead:' .. d[1]) end
    if tonumber(call('HGET', record, 'open') or '0') < 0 then call('HSET', record, 'open', 0) end
    call('HINCRBY', record, 'open', n)
    call('HSET', record, 'state', 'queued')
    call('HDEL', record, 'error', 'finished')
    shelve(a[2], 'queued', '', call('HGET', record, 'created') or score_text(ms))
    if lane then call('SADD', lane_name(string.match(lane, '^%d+\t(.*)$')), a[2]) end
    local pipeline = call('HGET', record, 'pipeline') or ''
    emit({'run.queued\t' .. a[2] .. '\t\t{"pipeline":"' .. pipeline .. '","cause":"retry","state":"queued","created":' ..
        (call('HGET', record, 'created') or '0') .. ',"at":' .. score_text(ms) .. '}\n'}, a[1], 1)
    return n
end

-- Ends a run that is under way. Whoever works on it loses its claim.
-- keys: hm:run:RUN, hm:wait:*, hm:seq, hm:events   args: events kept, run, then stage, key, ... of all its steps
-- returns: inputs withdrawn; -1: no such run; -2: it had ended
local function cancel(_, a)
    local record = run_name(a[2])
    local state = call('HGET', record, 'state')
    if state and not OPEN[state] then return -2 end
    local ms, n = now_ms(), 0
    for i = 3, #a, 2 do
        n = n + call('ZREM', wait_name(a[i]), a[i + 1])
        call('HDEL', tries_name(a[i]), a[i + 1])
    end
    if not state and n == 0 then return -1 end
    local pipeline = call('HGET', record, 'pipeline') or string.match(a[2], '^[^.]*')
    if not state then
        call('HSET', record, 'pipeline', pipeline, 'created', score_text(ms), 'rec', '{"cause":"key"')
        list_runs(pipeline, {a[2]})
    end
    call('HSET', record, 'open', 0)
    conclude(a[2], pipeline, 'cancelled', ms, '', '', '')
    tell_cancelled(a[2])
    emit({'run.failed\t' .. a[2] .. '\t\t{"pipeline":"' .. pipeline .. '","state":"cancelled","finished":' .. score_text(ms) ..
        ',"at":' .. score_text(ms) .. '}\n'}, a[1], 1)
    return n
end

register('hm2_begin', begin)
register('hm2_ledger', ledger)
register('hm2_log', log)
register('hm2_retry', retry)
register('hm2_cancel', cancel)
