
-- How runs end: one place, whoever ends them.

-- The lane of a run: "LIMIT<tab>NAME" in its record. hm:lane:NAME is the set of its open runs, hm:queue:NAME the list of those that wait:
-- "AT<tab>RUN<tab>KEY<tab>STAGE<tab>STAGE...".
local function lane_name(lane) return 'hm:lane:' .. lane end
local function queue_name(lane) return 'hm:queue:' .. lane end

-- A place became free: whoever waits longest takes it.
local function admit(lane, limit, ms)
    local set, queue = lane_name(lane), queue_name(lane)
    while call('SCARD', set) < limit do
        local entry = call('LPOP', queue)
        if not entry then return end
        local at, run, key, stages = string.match(entry, '^(%d+)\t([^\t]*)\t([^\t]*)\t(.*)$')
        if OPEN[call('HGET', run_name(run), 'state')] then
            call('SADD', set, run)
            for stage in string.gmatch(stages, '[^\t]+') do
                if call('ZSCORE', wait_name(stage), key) == 'inf' then
                    call('ZADD', wait_name(stage), score_text(math.max(ms, tonumber(at))), key)
                    ring(stage)
                end
            end
        end
    end
end

-- Counts of a day, all jobs in one hash: "PIPELINE<tab>STATE" runs, "PIPELINE<tab>ms" their time, "PIPELINE<tab>max", and "PIPELINE<tab>bN" runs that took about
-- 2^(N/4) ms; "PIPELINE<tab>last" is "RUN STATE MS" of the one that ended last.
local function count_run(run, pipeline, state, ms, took)
    local name = 'hm:stat:' .. math.floor(ms / 86400000)
    local field = pipeline .. '\t'
    call('HINCRBY', name, field .. state, 1)
    if not took then return end
    call('HINCRBY', name, field .. 'ms', score_text(took))
    call('HINCRBY', name, field .. 'b' .. math.floor(4 * math.log(took + 1) / math.log(2)), 1)
    call('HSET', name, field .. 'last', run .. ' ' .. state .. ' ' .. score_text(ms))
    if took > tonumber(call('HGET', name, field .. 'max') or '-1') then call('HSET', name, field .. 'max', score_text(took)) end
end

-- Tells the stages that follow the end of a run: its key run.ended.RUN is written and given to them. The sum * says that Redis wrote it by itself.
local function tell_end(run, pipeline, state, ms, err, after, rec, created, started, okey)
    if after == '' then return end
    local key = 'run.ended.' .. run
    local job = string.match(pipeline, '^job%.(.*)$')
    local value = '{"run":' .. cjson.encode(run) .. ',"pipeline":"' .. pipeline .. '"' .. (job and ',"job":"' .. job .. '"' or '') .. ',"state":"' .. state .. '"' ..
        (err ~= '' and ',"error":' .. err or '') .. (okey ~= '' and ',"output_key":' .. cjson.encode(okey) or '') .. ',"created":' .. (created or '0') ..
        (started and ',"started":' .. started or '') .. ',"finished":' .. score_text(ms) .. ',"rec":' .. (rec or '{') .. '}}'
    local name = kv_name(key)
    write_value(name, version_of(name), value, '*', '', next_seq())
    local score = score_text(ms)
    for stage in string.gmatch(after, '[^\t]+') do
        call('HDEL', tries_name(stage), key)
        revive(stage, key)
        call('ZADD', wait_name(stage), score, key)
        ring(stage)
    end
end

-- Ends a run that is open. err: JSON string or "". after: the stages that its end feeds.
local function conclude(run, pipeline, state, ms, err, after, okey)
    local record = run_name(run)
    local raw = call('HMGET', record, 'lane', 'created', 'started', 'rec', 'late', 'starts')
    call('HSET', record, 'state', state, 'finished', score_text(ms))
    call('ZREM', 'hm:runs@open', run)
    if FAILED[state] then shelve(run, state, pipeline, raw[2] or score_text(ms)) end
    if err ~= '' then call('HSET', record, 'error', err) end
    if raw[5] then call('UNLINK', kv_name('run.open.' .. run)) end
    if raw[1] then
        local limit, lane = string.match(raw[1], '^(%d+)\t(.*)$')
        call('SREM', lane_name(lane), run)
        admit(lane, tonumber(limit), ms)
    end
    local from = tonumber(raw[3] or raw[6] or raw[2])
    count_run(run, pipeline, state, ms, state ~= 'skipped' and from and math.max(0, ms - from) or nil)
    tell_end(run, pipeline, state, ms, err, after, raw[4], raw[2], raw[3], okey)
end

-- Tells the servers that work for a run is in vain. Channels know no databases, so only ids that are unique everywhere are told; a lost lease tells the rest.
local function tell_cancelled(run)
    if #run == 36 then call('PUBLISH', 'hm:cancel', run) end
end

-- "RUN<tab>STAGE<tab>STAGE": a run and the stages that its end feeds.
local function split_run(text)
    local run, after = string.match(text, '^([^\t]*)\t(.*)$')
    if run then return run, after end
    return text, ''
end
