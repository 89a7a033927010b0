
-- Dead letters: the members of hm:dead are "STAGE<tab>KEY", hm:letters has what is known of each.

local LOOK = 2000 -- letters that one call looks at, so that it keeps nobody waiting

-- Members newest first, behind the place that a cursor "MS<tab>MEMBER" names: also when that one is gone meanwhile.
local function letters_behind(cursor, n)
    local ms, member = string.match(cursor, '^(%d+)\t(.*)$')
    if not ms then return call('ZREVRANGE', 'hm:dead', 0, n - 1, 'WITHSCORES') end
    local rank = call('ZREVRANK', 'hm:dead', member)
    if rank then return call('ZREVRANGE', 'hm:dead', rank + 1, rank + n, 'WITHSCORES') end
    local out, from = {}, call('ZCOUNT', 'hm:dead', '(' .. ms, '+inf')
    local found = call('ZREVRANGE', 'hm:dead', from, from + n - 1, 'WITHSCORES')
    for i = 1, #found, 2 do
        if found[i + 1] ~= ms or found[i] < member then
            out[#out + 1] = found[i]
            out[#out + 1] = found[i + 1]
        end
    end
    return out
end

-- Texts from outside have their quotes escaped in a letter, so this can stand in one place only.
local function is_of(letter, pipeline)
    return pipeline == '' or string.find(letter or '', '"pipeline":"' .. pipeline .. '"', 1, true) ~= nil
end

-- A page, newest first. keys: hm:dead, hm:letters   args: pipeline or "", cursor or "", limit   returns: next cursor or "", then letters
local function letters(_, a)
    local limit, out, looked, last = tonumber(a[3]), {''}, 0, a[2]
    while #out <= limit and looked < LOOK do
        local found = letters_behind(last, 100)
        for i = 1, #found, 2 do
            local letter = call('HGET', 'hm:letters', found[i])
            last = found[i + 1] .. '\t' .. found[i]
            looked = looked + 1
            if letter and is_of(letter, a[1]) then
                out[#out + 1] = letter
                if #out > limit then break end
            end
        end
        if #found < 200 and #out <= limit then return out end
    end
    if #letters_behind(last, 1) > 0 then out[1] = last end
    return out
end

-- The letters of a run, with their inputs. keys: hm:run:RUN, hm:letters, hm:kv:*
-- args: run   returns: for each: letter, value, meta
local function letters_of(_, a)
    local all, out = call('HGETALL', run_name(a[1])), {}
    for i = 1, #all, 2 do
        local stage = string.match(all[i], '^dead:(.*)$')
        local letter = stage and call('HGET', 'hm:letters', stage .. '\t' .. all[i + 1])
        if letter then
            local raw = fields_of(all[i + 1], 'value', 'meta')
            out[#out + 1] = letter
            out[#out + 1] = raw[1] or false
            out[#out + 1] = raw[2] or false
        end
    end
    return out
end

-- Takes a letter's input up again; its event if that opens a run.
local function revive_letter(member, ms, lines, rung)
    local stage, key = string.match(member, '^([^\t]*)\t(.*)$')
    local run, aside = revive(stage, key)
    local added = call('ZADD', wait_name(stage), score_text(ms), key)
    rung[stage] = true
    if not run or aside then return end
    call('HINCRBY', run_name(run), 'open', added)
    lines[#lines + 1] = 'run.queued\t' .. run .. '\t\t{"pipeline":"' .. (call('HGET', run_name(run), 'pipeline') or '') ..
        '","cause":"retry","state":"queued","at":' .. score_text(ms) .. '}\n'
end

-- The oldest letters from a place on: those of a pipeline, up to `most`. Returns them and where to go on ("" at the end). Only those that were there at the
-- first call: what fails again meanwhile would be found for ever.
local function letters_from(pipeline, place, most, ms)
    local before, from = string.match(place, '^(%d+):(%d+)$')
    before, from = before or score_text(ms), tonumber(from or '0')
    local found = call('ZRANGEBYSCORE', 'hm:dead', '-inf', before, 'LIMIT', from, LOOK)
    local members, looked = {}, 0
    for _, member in ipairs(found) do
        if #members == most then break end
        looked = looked + 1
        if is_of(pipeline ~= '' and call('HGET', 'hm:letters', member) or '', pipeline) then members[#members + 1] = member end
    end
    if looked == #found and #found < LOOK then return members, '' end
    return members, before .. ':' .. score_text(from + looked - #members) -- what is taken moves the rest up
end

-- Takes letters up again, a part of them a call. keys: as retry   args: events kept, pipeline or "", place (first: "")
-- returns: how many, where to go on or ""
local function retry_letters(_, a)
    local ms, lines, rung = now_ms(), {}, {}
    local members, place = letters_from(a[2], a[3], 500, ms)
    for _, member in ipairs(members) do revive_letter(member, ms, lines, rung) end
    for stage in pairs(rung) do ring(stage) end
    emit(lines, a[1], #lines)
    return {#members, place}
end

-- Dropping changes what the map counts, so that is told.
local function tell_dropped(n, keep)
    if n > 0 then emit({'letters.dropped\t\t\t{"n":' .. n .. ',"at":' .. score_text(now_ms()) .. '}\n'}, keep, 1) end
end

-- Forgets letters (their runs keep their state), a part of them a call. keys: hm:dead, hm:letters, hm:seq, hm:events
-- args: events kept, pipeline or "", place   returns: how many, where to go on or ""
local function purge(_, a)
    local members, place = letters_from(a[2], a[3], 1000, now_ms())
    if #members > 0 then
        call('ZREM', 'hm:dead', unpack(members))
        call('HDEL', 'hm:letters', unpack(members))
    end
    tell_dropped(#members, a[1])
    return {#members, place}
end

-- Forgets the letters of one run. keys: hm:run:RUN, hm:dead, hm:letters, hm:seq, hm:events   args: events kept, run   returns: how many
local function purge_run(_, a)
    local all, n = call('HGETALL', run_name(a[2])), 0
    for i = 1, #all, 2 do
        local stage = string.match(all[i], '^dead:(.*)$')
        local member = stage and stage .. '\t' .. all[i + 1]
        if member and call('ZREM', 'hm:dead', member) == 1 then
            call('HDEL', 'hm:letters', member)
            n = n + 1
        end
    end
    tell_dropped(n, a[1])
    return n
end

register('hm2_letters', letters)
register('hm2_letters_of', letters_of)
register('hm2_retry_letters', retry_letters)
register('hm2_purge', purge)
register('hm2_purge_run', purge_run)
