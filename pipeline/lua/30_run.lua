
-- Takes webhook deliveries in: judged for duplicates, input key written, run recorded, stages fed, ledger and events appended.
-- Lua hashes every byte of every string, so the large ones stay out of here: an input whose key has the run's id in it was written
-- by a plain HSET in the same MULTI, and is taken back when the delivery turns out to be a duplicate.
-- keys: hm:dup:*, hm:run:*, hm:runs*, hm:kv:*, hm:wait:*, hm:ledger, hm:seq, hm:events
-- args: epoch, events kept, ledger kept, dedupe window ms, then for each: run, delivery id, dup name or "", key, feeds, pipeline,
--   what is known of it (JSON without its end), and value, sum, encoding if the input is still to be written (sum "" if not)
-- returns: for each "1" or the run that it is a duplicate of
-- may fail: STALE
local function ingest(_, a)
    local wrong = stale(a[1])
    if wrong then return wrong end
    local ms = now_ms()
    local at = score_text(ms)
    local seq = next_seq()
    local adds, lines, ledger, out, runs = {}, {}, {}, {}, {}
    local events = 0
    for i = 5, #a, 10 do
        local run, key, pipeline = a[i], a[i + 3], a[i + 5]
        local fresh, duplicate = true, nil
        if a[i + 2] ~= '' then
            local name = 'hm:dup:' .. a[i + 2]
            local old = call('SET', name, run, 'NX', 'GET', 'PX', a[4])
            if old == run then
                fresh = false -- stored before: the answer got lost, or it comes from the spool
            elseif old then
                local state = call('HGET', run_name(old), 'state')
                if state and not FAILED[state] then
                    duplicate = old
                else
                    call('SET', name, run, 'PX', a[4])
                end
            end
        elseif call('EXISTS', run_name(run)) == 1 then
            fresh = false
        end
        if duplicate then
            if a[i + 8] == '' then call('UNLINK', kv_name(key)) end
            out[#out + 1] = duplicate
            local line = a[i + 6] .. ',"id":"' .. a[i + 1] .. '","outcome":"duplicate","run":"' .. duplicate ..
                '","status":200,"reason":"the same delivery id came before","at":' .. at .. '}'
            ledger[#ledger + 1] = line
            lines[#lines + 1] = 'delivery\t' .. duplicate .. '\t\t'
            lines[#lines + 1] = line
            lines[#lines + 1] = '\n'
            events = events + 1
        elseif not fresh then
            out[#out + 1] = '1'
        else
            local open = 0
            for _ in string.gmatch(a[i + 4], '[^\t]+') do open = open + 1 end
            local state = open > 0 and 'queued' or 'succeeded'
            if a[i + 8] ~= '' then write_value(kv_name(key), version_of(kv_name(key)), a[i + 7], a[i + 8], a[i + 9], seq) end
            call('HSET', run_name(run), 'pipeline', pipeline, 'state', state, 'open', open, 'created', at, 'delivery', a[i + 1], 'rec', a[i + 6])
            local list = runs[pipeline]
            if not list then
                list = {}
                runs[pipeline] = list
            end
            list[#list + 1] = run
            feed(adds, a[i + 4], key)
            local line = a[i + 6] .. ',"id":"' .. a[i + 1] .. '","outcome":"accepted","run":"' .. run .. '","pipeline":"' .. pipeline ..
                '","state":"' .. state .. '","status":202,"at":' .. at .. '}'
            ledger[#ledger + 1] = line
            lines[#lines + 1] = 'accepted\t' .. run .. '\t' .. key .. '\t' -- read as two events: delivery and run.queued
            lines[#lines + 1] = line
            lines[#lines + 1] = '\n'
            events = events + 2
            out[#out + 1] = '1'
        end
    end
    for pipeline, list in pairs(runs) do list_runs(pipeline, list) end
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

-- Log lines of runs. keys: hm:log:*, hm:seq, hm:events   args: events kept, lines kept, then for each: run, stage, line, line as JSON string
local function log(_, a)
    local at = score_text(now_ms())
    local lines = {}
    for i = 3, #a, 4 do
        local name = 'hm:log:' .. a[i]
        call('XADD', name, 'MAXLEN', '~', a[2], '*', 's', a[i + 1], 'l', a[i + 2])
        call('EXPIRE', name, 604800) -- a week; a document has no record that would take its log with it
        lines[#lines + 1] = 'log\t' .. a[i] .. '\t\t{"stage":"' .. a[i + 1] .. '","line":' .. a[i + 3] .. ',"at":' .. at .. '}\n'
    end
    emit(lines, a[1], #lines)
    return #lines
end

-- Takes a failed run up again at the steps that failed, or from its input.
-- keys: hm:run:RUN, hm:dead, hm:letters, hm:wait:*, hm:seq, hm:events
-- args: events kept, run, from_start (0|1), input key, its stages (tab)   returns: steps started again; -1: no such run; -2: it did not fail
local function retry(_, a)
    local record = run_name(a[2])
    local state = call('HGET', record, 'state')
    if not state then return -1 end
    local ms = now_ms()
    local all = call('HGETALL', record)
    local adds, n = {}, 0
    if a[3] == '0' and not FAILED[state] then return -2 end
    if a[3] == '1' and (state == 'queued' or state == 'running') then return -2 end
    for i = 1, #all, 2 do
        local stage = string.match(all[i], '^dead:(.*)$')
        if stage then
            revive(stage, all[i + 1])
            call('HDEL', record, all[i])
            if a[3] == '0' then
                feed(adds, stage, all[i + 1])
                n = n + 1
            end
        end
    end
    if a[3] == '1' or n == 0 then
        if call('EXISTS', kv_name(a[4])) == 0 then return -1 end
        feed(adds, a[5], a[4])
        n = 0
        for stage in string.gmatch(a[5], '[^\t]+') do
            call('HSET', tries_name(stage), a[4], 0)
            n = n + 1
        end
    end
    call('HSET', record, 'state', 'queued', 'open', n)
    call('HDEL', record, 'error', 'finished')
    flush_feeds(adds, ms)
    ring()
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
    if state and state ~= 'queued' and state ~= 'running' then return -2 end
    local ms, n = now_ms(), 0
    for i = 3, #a, 2 do
        n = n + call('ZREM', wait_name(a[i]), a[i + 1])
        call('HDEL', tries_name(a[i]), a[i + 1])
    end
    if not state and n == 0 then return -1 end
    local pipeline = call('HGET', record, 'pipeline') or string.match(a[2], '^[^.]*')
    call('HSET', record, 'state', 'cancelled', 'finished', score_text(ms), 'pipeline', pipeline)
    call('HSETNX', record, 'created', score_text(ms))
    if not state then
        call('HSET', record, 'rec', '{"cause":"key"')
        list_runs(pipeline, {a[2]})
    end
    emit({'run.failed\t' .. a[2] .. '\t\t{"pipeline":"' .. pipeline .. '","state":"cancelled","finished":' .. score_text(ms) ..
        ',"at":' .. score_text(ms) .. '}\n'}, a[1], 1)
    return n
end

-- Takes all dead letters up again, at most 1000 a call. keys: as retry   args: events kept   returns: how many
local function retry_all(_, a)
    local ms = now_ms()
    local adds, lines, n = {}, {}, 0
    for _, member in ipairs(call('ZRANGE', 'hm:dead', 0, 999)) do
        local stage, key = string.match(member, '^([^\t]*)\t(.*)$')
        local run = revive(stage, key)
        feed(adds, stage, key)
        n = n + 1
        if run then
            lines[#lines + 1] = 'run.queued\t' .. run .. '\t\t{"pipeline":"' .. (call('HGET', run_name(run), 'pipeline') or '') ..
                '","cause":"retry","state":"queued","at":' .. score_text(ms) .. '}\n'
        end
    end
    flush_feeds(adds, ms)
    ring()
    emit(lines, a[1], #lines)
    return n
end

-- Forgets dead letters (the runs keep their state). keys: hm:dead, hm:letters   returns: how many
local function purge()
    local n = call('ZCARD', 'hm:dead')
    call('UNLINK', 'hm:dead', 'hm:letters')
    return n
end

-- Removes a finished run with all that is its own; false: it is still open.
local function remove_run(run, templates, from)
    local raw = call('HMGET', run_name(run), 'state', 'pipeline')
    if raw[1] == 'queued' or raw[1] == 'running' or raw[1] == 'waiting' then return false, raw[2] end
    for i = from, #templates do
        local name = string.gsub(templates[i], '{1}', function() return run end)
        call('UNLINK', kv_name(name))
    end
    call('UNLINK', run_name(run), 'hm:log:' .. run)
    return true, raw[2]
end

-- Removes old finished runs. One that is still open goes to hm:runs.parked, where it is looked at again later.
-- keys: hm:runs*, hm:runbase, hm:run:*, hm:log:*, hm:kv:*   args: how many to keep, at most so many a call, then key templates with {1}
-- returns: how many were taken off the list
local function trim(_, a)
    for _ = 1, math.min(20, call('LLEN', 'hm:runs.parked')) do
        local run = call('LPOP', 'hm:runs.parked')
        if not remove_run(run, a, 3) then call('RPUSH', 'hm:runs.parked', run) end
    end
    local over = math.min(call('LLEN', 'hm:runs') - tonumber(a[1]), tonumber(a[2]))
    if over <= 0 then return 0 end
    for _, run in ipairs(call('LPOP', 'hm:runs', over)) do
        local gone, pipeline = remove_run(run, a, 3)
        if not gone then call('RPUSH', 'hm:runs.parked', run) end
        local list = 'hm:runs:' .. (pipeline or '')
        if call('LINDEX', list, 0) == run then
            call('LPOP', list)
            call('HINCRBY', 'hm:runbase', list, 1)
        end
    end
    call('HINCRBY', 'hm:runbase', 'hm:runs', over)
    return over
end

register('hm2_ingest', ingest)
register('hm2_ledger', ledger)
register('hm2_log', log)
register('hm2_retry', retry)
register('hm2_cancel', cancel)
register('hm2_retry_all', retry_all)
register('hm2_purge', purge)
register('hm2_trim', trim)
