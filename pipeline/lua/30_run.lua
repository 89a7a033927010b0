
-- Takes webhook deliveries in: judged for duplicates, input key written, run recorded, stages fed, ledger and events appended.
-- keys: hm:dup:*, hm:run:*, hm:runs*, hm:kv:*, hm:wait:*, hm:ledger, hm:seq, hm:events
-- args: epoch, events kept, ledger kept, dedupe window ms, then for each: run, dup name or "", key, value, sum, encoding, feeds, pipeline,
--   record JSON, ledger line without its end, event data without its end
-- returns: for each "1" or the run that it is a duplicate of
-- may fail: STALE
local function ingest(_, a)
    local wrong = stale(a[1])
    if wrong then return wrong end
    local ms = now_ms()
    local at = score_text(ms)
    local seq = next_seq()
    local adds, lines, ledger, out, runs, by_pipeline = {}, {}, {}, {}, {}, {}
    for i = 5, #a, 11 do
        local run, pipeline = a[i], a[i + 7]
        local fresh, duplicate = true, nil
        if a[i + 1] ~= '' then
            local name = 'hm:dup:' .. a[i + 1]
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
            out[#out + 1] = duplicate
            ledger[#ledger + 1] = a[i + 9] .. ',"outcome":"duplicate","run":"' .. duplicate .. '","status":200,"reason":"the same delivery id came before","at":' .. at .. '}'
            lines[#lines + 1] = 'delivery\t' .. duplicate .. '\t\t' .. ledger[#ledger]
        elseif not fresh then
            out[#out + 1] = '1'
        else
            local _, open = string.gsub(a[i + 6], '[^\t]+', '')
            write_value(a[i + 2], version_of(a[i + 2]), a[i + 3], a[i + 4], a[i + 5], seq)
            call('HSET', run_name(run), 'pipeline', pipeline, 'state', open > 0 and 'queued' or 'succeeded', 'open', open, 'created', at, 'rec', a[i + 8])
            runs[#runs + 1] = at
            runs[#runs + 1] = run
            local list = by_pipeline[pipeline]
            if not list then
                list = {}
                by_pipeline[pipeline] = list
            end
            list[#list + 1] = at
            list[#list + 1] = run
            feed(adds, a[i + 6], a[i + 2])
            ledger[#ledger + 1] = a[i + 9] .. ',"outcome":"accepted","run":"' .. run .. '","status":202,"at":' .. at .. '}'
            lines[#lines + 1] = 'delivery\t' .. run .. '\t\t' .. ledger[#ledger]
            lines[#lines + 1] = 'run.queued\t' .. run .. '\t' .. a[i + 2] .. '\t' .. a[i + 10] .. ',"state":"' ..
                (open > 0 and 'queued' or 'succeeded') .. '","created":' .. at .. ',"at":' .. at .. '}'
            out[#out + 1] = '1'
        end
    end
    if #runs > 0 then
        call('ZADD', 'hm:runs', unpack(runs))
        for pipeline, list in pairs(by_pipeline) do call('ZADD', 'hm:runs:' .. pipeline, unpack(list)) end
    end
    if #ledger > 0 then
        call('XADD', 'hm:ledger', 'MAXLEN', '~', a[3], '*', 'n', #ledger, 'l', table.concat(ledger, '\n'))
    end
    flush_feeds(adds, ms)
    emit(lines, a[2])
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
        lines[#lines + 1] = 'delivery\t\t\t' .. line
        if a[i + 4] ~= '' then
            call('XADD', 'hm:kept', 'MAXLEN', '~', a[3], '*', 'id', a[i + 1], 'hook', a[i + 2], 'headers', a[i + 3], 'body', a[i + 4])
        end
    end
    call('XADD', 'hm:ledger', 'MAXLEN', '~', a[2], '*', 'n', #all, 'l', table.concat(all, '\n'))
    emit(lines, a[1])
    return #all
end

-- Log lines of runs. keys: hm:log:*, hm:seq, hm:events   args: events kept, lines kept, then for each: run, stage, line, line as JSON string
local function log(_, a)
    local at = score_text(now_ms())
    local lines = {}
    for i = 3, #a, 4 do
        call('XADD', 'hm:log:' .. a[i], 'MAXLEN', '~', a[2], '*', 's', a[i + 1], 'l', a[i + 2])
        lines[#lines + 1] = 'log\t' .. a[i] .. '\t\t{"stage":"' .. a[i + 1] .. '","line":' .. a[i + 3] .. ',"at":' .. at .. '}'
    end
    emit(lines, a[1])
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
            local key = all[i + 1]
            call('HDEL', record, all[i])
            call('ZREM', 'hm:dead', stage .. '\t' .. key)
            call('HDEL', 'hm:letters', stage .. '\t' .. key)
            if a[3] == '0' then
                feed(adds, stage, key)
                n = n + 1
            end
        end
    end
    if a[3] == '1' or n == 0 then
        if call('EXISTS', kv_name(a[4])) == 0 then return -1 end
        feed(adds, a[5], a[4])
        local _, open = string.gsub(a[5], '[^\t]+', '')
        n = open
    end
    call('HSET', record, 'state', 'queued', 'open', n)
    call('HDEL', record, 'error', 'finished')
    flush_feeds(adds, ms)
    ring()
    local pipeline = call('HGET', record, 'pipeline') or ''
    emit({'run.queued\t' .. a[2] .. '\t\t{"pipeline":"' .. pipeline .. '","cause":"retry","state":"queued","created":' ..
        (call('HGET', record, 'created') or '0') .. ',"at":' .. score_text(ms) .. '}'}, a[1])
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
    call('HSETNX', record, 'rec', '{"cause":"key"}')
    call('ZADD', 'hm:runs', 'NX', score_text(ms), a[2])
    call('ZADD', 'hm:runs:' .. pipeline, 'NX', score_text(ms), a[2])
    emit({'run.failed\t' .. a[2] .. '\t\t{"pipeline":"' .. pipeline .. '","state":"cancelled","finished":' .. score_text(ms) ..
        ',"at":' .. score_text(ms) .. '}'}, a[1])
    return n
end

-- Takes all dead letters up again, at most 1000 a call. keys: as retry   args: events kept   returns: how many
local function retry_all(_, a)
    local ms = now_ms()
    local adds, lines, n = {}, {}, 0
    for _, member in ipairs(call('ZRANGE', 'hm:dead', 0, 999)) do
        local stage, key = string.match(member, '^([^\t]*)\t(.*)$')
        local letter = cjson.decode(call('HGET', 'hm:letters', member) or '{}')
        call('ZREM', 'hm:dead', member)
        call('HDEL', 'hm:letters', member)
        feed(adds, stage, key)
        n = n + 1
        if letter.run then
            local record = run_name(letter.run)
            call('HDEL', record, 'dead:' .. stage, 'error', 'finished')
            if call('HGET', record, 'state') ~= 'queued' then call('HSET', record, 'state', 'queued', 'open', 0) end
            call('HINCRBY', record, 'open', 1)
            lines[#lines + 1] = 'run.queued\t' .. letter.run .. '\t\t{"pipeline":"' .. letter.pipeline ..
                '","cause":"retry","state":"queued","at":' .. score_text(ms) .. '}'
        end
    end
    flush_feeds(adds, ms)
    ring()
    emit(lines, a[1])
    return n
end

-- Forgets dead letters (the runs keep their state). keys: hm:dead, hm:letters   returns: how many
local function purge()
    local n = call('ZCARD', 'hm:dead')
    call('UNLINK', 'hm:dead', 'hm:letters')
    return n
end

-- Removes old finished runs with all that is theirs.
-- keys: hm:runs*, hm:run:*, hm:log:*, hm:kv:*   args: how many to keep, at most so many a call, then key templates with {1}
-- returns: how many were removed
local function trim(_, a)
    local over = math.min(call('ZCARD', 'hm:runs') - tonumber(a[1]), tonumber(a[2]))
    if over <= 0 then return 0 end
    local n = 0
    for _, run in ipairs(call('ZRANGE', 'hm:runs', 0, over - 1)) do
        local raw = call('HMGET', run_name(run), 'state', 'pipeline')
        if raw[1] ~= 'queued' and raw[1] ~= 'running' and raw[1] ~= 'waiting' then
            for i = 3, #a do
                local name = string.gsub(a[i], '{1}', function() return run end)
                call('UNLINK', kv_name(name))
            end
            call('UNLINK', run_name(run), 'hm:log:' .. run)
            call('ZREM', 'hm:runs', run)
            call('ZREM', 'hm:runs:' .. (raw[2] or ''), run)
            n = n + 1
        end
    end
    return n
end

register('hm1_ingest', ingest)
register('hm1_ledger', ledger)
register('hm1_log', log)
register('hm1_retry', retry)
register('hm1_cancel', cancel)
register('hm1_retry_all', retry_all)
register('hm1_purge', purge)
register('hm1_trim', trim)
