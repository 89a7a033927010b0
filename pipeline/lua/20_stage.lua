
-- Enters stages in the registry; what is there already stays as it is unless its patterns changed.
-- keys: hm:stages, hm:epoch, hm:seq
-- args: id, JSON, id, JSON, ...   JSON: {"pipeline","watch","also":[..]} in a fixed spelling
-- returns: epoch, then id, JSON, since, "1" if its backfill is done, ... of all stages
local function stages(_, a)
    local changed = false
    for i = 1, #a, 2 do
        if call('HGET', 'hm:stages', a[i]) ~= a[i + 1] then
            call('HSET', 'hm:stages', a[i], a[i + 1])
            call('HSET', 'hm:since', a[i], call('GET', 'hm:seq') or '0')
            -- Ends of runs that were before a stage follows them are none of its business.
            if string.find(a[i + 1], '"after":true', 1, true) then
                call('HSET', 'hm:filled', a[i], 1)
            else
                call('HDEL', 'hm:filled', a[i])
            end
            call('DEL', 'hm:fill:' .. a[i])
            changed = true
        end
    end
    if changed then call('INCR', 'hm:epoch') end
    local out = {call('GET', 'hm:epoch') or '0'}
    local all = call('HGETALL', 'hm:stages')
    for i = 1, #all, 2 do
        out[#out + 1] = all[i]
        out[#out + 1] = all[i + 1]
        out[#out + 1] = call('HGET', 'hm:since', all[i]) or '0'
        out[#out + 1] = call('HEXISTS', 'hm:filled', all[i])
    end
    return out
end

-- Gives a new stage the keys that were written before it was registered. Each key once, also when the scan is begun again.
-- keys: hm:kv:*, hm:fill:STAGE, hm:wait:STAGE
-- args: stage, since, key, key, ...
-- returns: how many were added
local function backfill(_, a)
    local stage, since = a[1], tonumber(a[2])
    local score = score_text(now_ms())
    local added = 0
    for i = 3, #a do
        local meta = fields_of(a[i], 'meta')[1]
        local seq = meta and tonumber(string.match(meta, '^[^:]*:%d+:(%d+):'))
        if seq and seq <= since and call('SADD', 'hm:fill:' .. stage, a[i]) == 1 then
            added = added + call('ZADD', wait_name(stage), 'NX', score, a[i])
        end
    end
    if added > 0 then ring(stage) end
    return added
end

-- keys: hm:filled, hm:fill:STAGE   args: stage
local function backfilled(_, a)
    call('HSET', 'hm:filled', a[1], 1)
    call('UNLINK', 'hm:fill:' .. a[1])
    return 1
end

-- Which stages have inputs, of whatever state. keys: hm:wait:*   args: stages   returns: those of them
local function waiting(_, a)
    local out = {}
    for i = 1, #a do
        if call('EXISTS', wait_name(a[i])) == 1 then out[#out + 1] = a[i] end
    end
    return out
end

-- Claims inputs that are ready, or whose lease ran out.
-- keys: hm:wait:STAGE, hm:tries:STAGE, hm:kv:*, hm:run:*
-- args: stage, how many, lease ms, slot, events kept, announce (0|1), pipeline, watch as a Lua pattern, also template...
-- returns: ms until the next input is ready (-1 none, 0 there are more now), reclaimed, then for each: key, token, attempt ("+" before it: this
--   input failed before), version,
--   meta, value, and the value and meta of each `also` key
local function claim(_, a)
    local wait = wait_name(a[1])
    local want, slot, alsos = tonumber(a[2]), tonumber(a[4]), #a - 8
    local ms = now_ms()
    -- Leases that ran out come first. Their holder died or hung: that costs an attempt, so that an input that kills its workers ends.
    local got = call('ZRANGEBYSCORE', wait, score_text(LEASE), score_text(LEASE + ms * SLOTS), 'LIMIT', 0, want)
    local reclaimed = #got
    for _, key in ipairs(got) do call('HINCRBY', tries_name(a[1]), key, 1) end
    if reclaimed < want then
        local ready = call('ZRANGEBYSCORE', wait, '-inf', score_text(ms), 'LIMIT', 0, want - reclaimed)
        if reclaimed == 0 then
            got = ready
        else
            for _, key in ipairs(ready) do got[#got + 1] = key end
        end
    end
    local n = #got
    local out = {0, 0}
    local leases, gone, parked, lines = {}, {}, {}, {}
    local token = score_text(LEASE + (ms + tonumber(a[3])) * SLOTS + slot)
    local tries = {}
    if n > 0 and call('EXISTS', tries_name(a[1])) == 1 then
        tries = call('HMGET', tries_name(a[1]), unpack(got))
    end
    for i = 1, n do
        local key = got[i]
        local raw = fields_of(key, 'version', 'meta', 'value')
        if not raw[3] then
            gone[#gone + 1] = key
        else
            local also, missing = {}, false
            if alsos > 0 then
                local caps = {string.match(key, a[8])}
                for j = 1, alsos do
                    local optional = string.sub(a[8 + j], 1, 1) == '?'
                    local name = string.gsub(optional and string.sub(a[8 + j], 2) or a[8 + j], '{(%w+)}', function(d)
                        return caps[tonumber(d) or 1]
                    end)
                    local v = fields_of(name, 'value', 'meta')
                    if not v[1] and not optional then missing = true end
                    also[2 * j - 1] = v[1] or false
                    also[2 * j] = v[2] or ''
                end
            end
            if missing then
                parked[#parked + 1] = 'inf'
                parked[#parked + 1] = key
            else
                leases[#leases + 1] = token
                leases[#leases + 1] = key
                local at = #out
                local attempt = (tonumber(tries[i] or '0') or 0) + 1
                out[at + 1] = key
                out[at + 2] = token
                out[at + 3] = tries[i] and '+' .. attempt or attempt
                out[at + 4] = raw[1] or '0'
                out[at + 5] = raw[2] or ''
                out[at + 6] = raw[3]
                for j = 1, 2 * alsos do out[at + 6 + j] = also[j] end
                if a[6] == '1' then
                    local run = string.match(key, a[8]) or ''
                    local state = call('HGET', run_name(run), 'state')
                    if state == 'queued' or state == 'waiting' then
                        call('HSET', run_name(run), 'state', 'running', 'started', score_text(ms))
                    elseif not state and a[7] ~= 'hookmesh' then
                        run = a[7] .. '.' .. table.concat({string.match(key, a[8])}, '.')
                    end
                    lines[#lines + 1] = 'step.started\t' .. run .. '\t' .. key .. '\t{"stage":"' .. a[1] ..
                        '","attempt":' .. attempt .. ',"at":' .. score_text(ms) .. '}\n'
                end
            end
        end
    end
    if #leases > 0 then call('ZADD', wait, unpack(leases)) end
    if #parked > 0 then call('ZADD', wait, unpack(parked)) end
    if #gone > 0 then call('ZREM', wait, unpack(gone)) end
    emit(lines, a[5], #lines)
    if n == want then
        out[1] = 0
    else
        local ready = call('ZRANGEBYSCORE', wait, '(' .. score_text(ms), '(' .. score_text(LEASE), 'WITHSCORES', 'LIMIT', 0, 1)[2]
        local lease = call('ZRANGEBYSCORE', wait, '(' .. score_text(LEASE + ms * SLOTS), '(inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
        local at = ready and tonumber(ready) or math.huge
        if lease then at = math.min(at, math.floor((tonumber(lease) - LEASE) / SLOTS) + 1) end
        out[1] = at < math.huge and math.max(1, at - ms) or -1
    end
    out[2] = reclaimed
    return out
end

-- Puts off the end of leases. keys: hm:wait:*   args: lease ms, slot, then for each: stage, key, token
-- returns: for each the new token, or "" when the claim is lost
local function renew(_, a)
    local token = score_text(LEASE + (now_ms() + tonumber(a[1])) * SLOTS + tonumber(a[2]))
    local out = {}
    for i = 3, #a, 3 do
        if call('ZSCORE', wait_name(a[i]), a[i + 1]) == a[i + 2] then
            call('ZADD', wait_name(a[i]), token, a[i + 1])
            out[#out + 1] = token
        else
            out[#out + 1] = ''
        end
    end
    return out
end

-- Hands claims back unused. keys: hm:wait:*   args: for each: stage, key, token   returns: how many
local function release(_, a)
    local score, n, last = score_text(now_ms()), 0, nil
    for i = 1, #a, 3 do
        if call('ZSCORE', wait_name(a[i]), a[i + 1]) == a[i + 2] then
            call('ZADD', wait_name(a[i]), score, a[i + 1])
            n = n + 1
            if a[i] ~= last then ring(a[i]) end
            last = a[i]
        end
    end
    return n
end

-- Hands back all claims of one slot, whose server is known to be dead, a bounded number a call.
-- keys: hm:wait:STAGE   args: stage, slot, limit   returns: how many were handed back
local function release_dead(_, a)
    local wait, slot = wait_name(a[1]), tonumber(a[2])
    local ms = now_ms()
    local got = call('ZRANGEBYSCORE', wait, score_text(LEASE), '(inf', 'WITHSCORES', 'LIMIT', 0, 100000)
    local args = {}
    for i = 1, #got, 2 do
        if #args < 2 * tonumber(a[3]) and tonumber(got[i + 1]) % SLOTS == slot then
            args[#args + 1] = score_text(ms)
            args[#args + 1] = got[i]
        end
    end
    if #args > 0 then
        call('ZADD', wait, unpack(args))
        ring(a[1])
    end
    return #args / 2
end

-- The inputs that a claim (stage and token) still holds, read once a call.
local function held_by(claims, stage, token)
    local id = stage .. '\t' .. token
    local held = claims[id]
    if not held then
        held = {stage = stage, token = token, keys = {}, done = {}, n = 0}
        for _, key in ipairs(call('ZRANGEBYSCORE', wait_name(stage), token, token)) do
            held.keys[key] = true
            held.n = held.n + 1
        end
        claims[id] = held
    end
    return held
end

local function drop(claims)
    for _, held in pairs(claims) do
        if #held.done == held.n and held.n > 1 then
            call('ZREMRANGEBYSCORE', wait_name(held.stage), held.token, held.token)
        elseif #held.done > 0 then
            call('ZREM', wait_name(held.stage), unpack(held.done))
        end
    end
end

-- Commits finished work: the fence is checked, the output written, the claim dropped, the next stages fed, the event appended.
-- keys: hm:wait:*, hm:kv:*, hm:run:*, hm:tries:*, hm:seq, hm:events
-- args: epoch, events kept, then for each: stage, key, token, attempt (0: a document that failed before), output key or "", value, sum, feeds, bumps,
--   run if it may have a record, else "" ("RUN<tab>STAGE...": with the stages that its end feeds; "@RUN": the step comes after the end of the run), event without its end
-- returns: for each the output's version (0 without output), or -1 when the claim is lost
-- may fail: STALE
local function commit(_, a)
    local wrong = stale(a[1])
    if wrong then return wrong end
    local ms = now_ms()
    local seq = next_seq()
    local at = ',"at":' .. score_text(ms) .. '}\n'
    local tail = ends_with(',"out_version":', at)
    local adds, lines, out, n = {}, {}, {}, 0
    local claims, held = {}, {}
    local dead = call('EXISTS', 'hm:dead') == 1
    for i = 3, #a, 11 do
        local stage, key, okey, feeds = a[i], a[i + 1], a[i + 4], a[i + 7]
        if held.stage ~= stage or held.token ~= a[i + 2] then held = held_by(claims, stage, a[i + 2]) end
        if not held.keys[key] then
            out[#out + 1] = -1
        else
            held.keys[key] = nil -- no second time in this call either
            held.done[#held.done + 1] = key
            local v, text = 0, '0'
            if okey ~= '' then
                local name = kv_name(okey)
                v, text = write_value(name, version_of(name), a[i + 5], a[i + 6], '', seq)
            end
            if a[i + 3] ~= '1' then call('HDEL', tries_name(stage), key) end
            lines[#lines + 1] = a[i + 10]
            lines[#lines + 1] = tail(text)
            n = n + 1
            local run, after, aside = '', '', false
            if a[i + 9] ~= '' then
                run, after = split_run(a[i + 9])
                aside = string.sub(run, 1, 1) == '@'
                if aside then run = string.sub(run, 2) end
            end
            local record = run ~= '' and run_name(run)
            if record and call('EXISTS', record) == 1 then
                call('HSET', record, 'step:' .. stage, string.match(a[i + 10], '^[^\t]*\t[^\t]*\t[^\t]*\t(.*)$') ..
                    ',"out_version":' .. text .. ',"at":' .. score_text(ms) .. '}')
                if not aside then
                    local more = -1
                    for target in string.gmatch(feeds, '[^\t]+') do
                        if dead then revive(target, okey) end
                        more = more + call('ZADD', wait_name(target), score_text(ms), okey)
                        if a[i + 3] == '0' then call('HSET', tries_name(target), okey, 0) end
                    end
                    feeds = ''
                    if call('HINCRBY', record, 'open', more) <= 0 and not FAILED[call('HGET', record, 'state')] then
                        local pipeline = call('HGET', record, 'pipeline') or ''
                        conclude(run, pipeline, 'succeeded', ms, '', after, okey)
                        lines[#lines + 1] = 'run.done\t' .. run .. '\t' .. okey .. '\t{"pipeline":"' .. pipeline ..
                            '","state":"succeeded","finished":' .. score_text(ms) .. at
                        n = n + 1
                    end
                end
            end
            feed(adds, feeds, okey)
            if dead then revive_all(feeds, okey) end
            if a[i + 8] ~= '' then bump(a[i + 8], ms) end
            out[#out + 1] = v
        end
    end
    drop(claims)
    flush_feeds(adds, ms)
    emit(lines, a[2], n)
    return out
end

-- Ends attempts that failed: another one later, or the dead letters.
-- keys: hm:wait:*, hm:tries:*, hm:run:*, hm:runs*, hm:dead, hm:letters, hm:seq, hm:events
-- args: events kept, letters (0|1), then for each: stage, key, token, "retry"|"dead", delay ms, state ("dead", "timed_out"; "aside": a step after the end of its
--   run, which stays as it is), run with the stages that its end feeds, pipeline, error as JSON string, attempt
-- returns: for each 1, or -1 when the claim is lost
local function fail(_, a)
    local ms = now_ms()
    local lines, out = {}, {}
    for i = 3, #a, 10 do
        local stage, key, state = a[i], a[i + 1], a[i + 5]
        local run, after = split_run(a[i + 6])
        local line = 'step.failed\t' .. run .. '\t' .. key .. '\t{"stage":"' .. stage .. '","attempt":' .. a[i + 9] .. ',"error":' .. a[i + 8]
        if call('ZSCORE', wait_name(stage), key) ~= a[i + 2] then
            out[#out + 1] = -1
        elseif a[i + 3] == 'retry' then
            call('HSET', tries_name(stage), key, a[i + 9])
            call('ZADD', wait_name(stage), score_text(ms + tonumber(a[i + 4])), key)
            lines[#lines + 1] = line .. ',"retry_ms":' .. a[i + 4] .. ',"at":' .. score_text(ms) .. '}\n'
            out[#out + 1] = 1
        else
            local aside = state == 'aside'
            local record = run_name(run)
            call('ZREM', wait_name(stage), key)
            call('HDEL', tries_name(stage), key)
            if a[2] == '1' then
                call('ZADD', 'hm:dead', score_text(ms), stage .. '\t' .. key)
                call('HSET', 'hm:letters', stage .. '\t' .. key, '{"id":' .. cjson.encode(run) .. ',"run":' .. cjson.encode(run) .. ',"pipeline":"' .. a[i + 7] ..
                    '","stage":"' .. stage .. '","key":' .. cjson.encode(key) .. ',"state":"' .. (aside and 'dead","aside":true' or state .. '"') .. ',"attempts":' ..
                    a[i + 9] .. ',"error":' .. a[i + 8] .. ',"at":' .. score_text(ms) .. '}')
            end
            if aside then
                if call('EXISTS', record) == 1 then call('HSET', record, 'dead:' .. stage, key) end
                lines[#lines + 1] = line .. ',"after":true,"state":"dead","at":' .. score_text(ms) .. '}\n'
            else
                if call('EXISTS', record) == 0 then
                    -- A document has no record until it fails.
                    call('HSET', record, 'pipeline', a[i + 7], 'state', 'queued', 'created', score_text(ms), 'open', 1, 'rec', '{"cause":"key"')
                    list_runs(a[i + 7], {run})
                end
                call('HSET', record, 'dead:' .. stage, key)
                call('HINCRBY', record, 'open', -1)
                lines[#lines + 1] = line .. ',"state":"' .. state .. '","at":' .. score_text(ms) .. '}\n'
                -- A second branch that fails changes nothing about a run that has failed.
                if not FAILED[call('HGET', record, 'state')] then
                    conclude(run, a[i + 7], state, ms, a[i + 8], after, '')
                    lines[#lines + 1] = 'run.failed\t' .. run .. '\t' .. key .. '\t{"pipeline":"' .. a[i + 7] .. '","stage":"' .. stage ..
                        '","state":"' .. state .. '","error":' .. a[i + 8] .. ',"finished":' .. score_text(ms) .. ',"at":' .. score_text(ms) .. '}\n'
                end
            end
            out[#out + 1] = 1
        end
    end
    emit(lines, a[1], #lines)
    return out
end

register('hm2_stages', stages)
register('hm2_backfill', backfill)
register('hm2_backfilled', backfilled)
register('hm2_waiting', waiting)
register('hm2_claim', claim)
register('hm2_renew', renew)
register('hm2_release', release)
register('hm2_release_dead', release_dead)
register('hm2_commit', commit)
register('hm2_fail', fail)
