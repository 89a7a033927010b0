
-- Alerts: each turn to the worse and to the better is told once, whichever of several servers judges the runs.
-- hm:alerts is a hash "ALERT<tab>JOB" -> {state: as the newest run says, at: when it said so, since, told: what people were told last, telling, owner, sending:
-- who tells it at the moment and since when}. An owner that comes again while it is noted as sending died between sending and saying so: it sends
-- once more. One that gave up (alert_told with 0) leaves the telling to the next run that says the same; what is over before it could be told is not told.
do
    local function read(field)
        local raw = call('HGET', 'hm:alerts', field)
        return raw and cjson.decode(raw) or {state = 'fine', told = 'fine', at = 0, since = 0, owner = '', sending = 0}
    end

    local function write(field, s) call('HSET', 'hm:alerts', field, cjson.encode(s)) end

    -- keys: hm:alerts   args: ALERT<tab>JOB, owner, "failing"|"fine", when (ms), ms after which a sender is given up
    -- returns: what the caller is to tell or "", since when (ms)
    local function judge(_, a)
        local s, ms, at = read(a[1]), now_ms(), tonumber(a[4])
        if s.owner == a[2] and s.sending > 0 then return {s.telling, s.since} end
        if at >= s.at then
            if s.state ~= a[3] then s.since = at end
            s.state, s.at = a[3], at
        end
        local mine = s.state == a[3] and s.state ~= s.told and s.sending <= ms - tonumber(a[5])
        if mine then s.owner, s.sending, s.telling = a[2], ms, s.state end
        write(a[1], s)
        return {mine and s.telling or '', s.since}
    end

    -- keys: hm:alerts   args: ALERT<tab>JOB, owner, 1: it was told, 0: it was not
    -- returns: what is to be told now, because the state has changed while the other was told, or ""; since when (ms)
    local function told(_, a)
        local s = read(a[1])
        if s.owner ~= a[2] or s.sending == 0 then return {'', s.since} end
        s.sending = 0
        if a[3] == '1' then
            s.told = s.telling
            if s.state ~= s.told then s.sending, s.telling = now_ms(), s.state end
        end
        write(a[1], s)
        return {s.sending > 0 and s.telling or '', s.since}
    end

    register('hm2_alert_judge', judge)
    register('hm2_alert_told', told)
end
