#!lua name=hookmesh_2

-- The atomic steps of hookmesh. Each function checks all that can go wrong before it writes anything,
-- because a script is not rolled back. Key names are made here and nowhere else:
--   hm:format      number of the form that the keys below have
--   hm:kv:KEY      hash   value, version, meta ("sum:version:seq:encoding")
--   hm:wait:STAGE  zset   input keys of a stage; the score is the not-before time, or the lease's end
--   hm:tries:STAGE hash   attempts of inputs that failed at least once
--   hm:stages      hash   every stage that was ever served: its patterns, where its backfill begins
--   hm:epoch       number of changes of hm:stages: callers show the one they know
--   hm:seq         number of the last event
--   hm:events      stream one entry a call, with all its events as lines
--   hm:ledger      stream webhook deliveries, one entry a call; hm:ledger.seq the number of the last line
--   hm:kept        stream bodies of deliveries that started nothing, for a replay
--   hm:run:ID      hash   record of a run that a trigger started, or that failed
--   hm:runs[:P]    list   such runs, oldest first, all and by pipeline; hm:runbase hash: how many were taken off the front of each
--   hm:runs@open, hm:runs@STATE[:P] zset  runs that are open, or ended otherwise than well, by the time of their creation
--   hm:hold:NAME   string a name that one holder has at a time
--   hm:runs.parked list   runs that were still open when they became too old for hm:runs
--   hm:log:RUN     stream log lines
--   hm:dup:NAME    string run that was started under a name ("HOOK:ID" of a delivery), with the sum of its request behind a space
--   hm:lane:NAME   set    open runs of a concurrency key; hm:queue:NAME list of those that wait for a place
--   hm:rate:NAME   list   the last starts under a rate limit (ms); hm:debounce:NAME string the run that still takes new input
--   hm:stat:DAY    hash   counts of the runs that ended on a day
--   hm:cron        zset   schedules by their next fire (ms)
--   hm:bell        hash   written to find out whether notifications are heard
--   hm:ring, hm:cancel    channels: a stage whose inputs became ready without a write of their key, a run that was cancelled
--   hm:secret      string what the tokens of runs are signed with
--   hm:dead        zset   dead letters by time: "STAGE<tab>KEY";  hm:letters hash: their JSON
--
-- Scores: an input that is ready, or will be, has the time (ms). A claimed one has LEASE + the lease's end * 512 + the slot of the server that holds
-- it: that score is its fencing token. All inputs of one claim share it, so that one range read checks, and one range delete drops, a
-- whole batch. An input that waits for a second key has the score inf.

local LEASE = 4503599627370496 -- 2^52; with the rest still below 2^53, where doubles count exactly
local SLOTS = 512

-- redis.call exists only while a function runs, not while the library is loaded.
local call
local function register(name, fn)
    redis.register_function(name, function(keys, args)
        call = redis.call
        return fn(keys, args)
    end)
end


local FORMAT = '2' -- of all the keys below; another one when they change so that an older version would misread them

local FAILED = {dead = true, timed_out = true, cancelled = true, budget_exceeded = true, skipped = true}

local function kv_name(key) return 'hm:kv:' .. key end
local function wait_name(stage) return 'hm:wait:' .. stage end
local function tries_name(stage) return 'hm:tries:' .. stage end
local function run_name(run) return 'hm:run:' .. run end

local function now_ms()
    local t = call('TIME')
    return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function score_text(score) return string.format('%.0f', score) end

-- A caller that knows other stages than the registry must look again before it writes.
local function stale(epoch)
    if (call('GET', 'hm:epoch') or '0') ~= epoch then
        return redis.error_reply('STALE the stages have changed')
    end
end

-- Events of this call are collected in a list of pieces, each line in one or more of them with its newline, and appended once.
-- Pieces that many lines share cost nothing: Lua hashes every byte of every string that it makes.
local function emit(pieces, keep, n)
    if n == 0 then return end
    local last = call('INCRBY', 'hm:seq', n)
    call('XADD', 'hm:events', 'MINID', '~', score_text(math.max(0, last - keep)), score_text(last - n + 1) .. '-0', 'n', n, 'e',
        table.concat(pieces))
end

-- The end of a line that differs only by a version: made once for each version in a call.
local function ends_with(before, after)
    local made = {}
    return function(version)
        local text = made[version]
        if not text then
            text = before .. version .. after
            made[version] = text
        end
        return text
    end
end

-- Lines of the ledger, numbered like events, so that it is kept by lines and not by entries.
local function enter(lines, keep)
    local n = #lines
    if n == 0 then return end
    local last = call('INCRBY', 'hm:ledger.seq', n)
    call('XADD', 'hm:ledger', 'MINID', '~', score_text(math.max(0, last - keep)), score_text(last - n + 1) .. '-0', 'n', n, 'l',
        table.concat(lines, '\n'))
end

-- Numbers as text: the small ones, which nearly all versions are, without formatting.
local digits = {}
local function int_text(n)
    local text = digits[n]
    if not text then
        text = score_text(n)
        if n <= 256 then digits[n] = text end
    end
    return text
end

-- Enters a run in the lists, newest last.
local function list_runs(pipeline, ids)
    call('RPUSH', 'hm:runs', unpack(ids))
    call('RPUSH', 'hm:runs:' .. pipeline, unpack(ids))
end

-- Most runs have succeeded. Those in other states are rare, and are looked for: they stand on shelves by state, newest last; open ones on one. Who reads a
-- shelf takes off what does not belong there any more, so a run is only put on one.
local OPEN = {queued = true, running = true, waiting = true}
local function shelf_name(state, pipeline)
    if OPEN[state] then return 'hm:runs@open' end
    return 'hm:runs@' .. state .. (pipeline ~= '' and ':' .. pipeline or '')
end
local function shelve(run, state, pipeline, created)
    call('ZADD', shelf_name(state, ''), created, run)
    if not OPEN[state] and pipeline ~= '' then call('ZADD', shelf_name(state, pipeline), created, run) end
end

-- What is to be added to pending sets is collected by stage and added with few calls.
local function feed(adds, stages, member)
    if stages == '' then return end
    if not string.find(stages, '\t', 1, true) then
        local list = adds[stages]
        if not list then
            list = {}
            adds[stages] = list
        end
        list[#list + 1] = member
        return
    end
    for stage in string.gmatch(stages, '[^\t]+') do
        local list = adds[stage]
        if not list then
            list = {}
            adds[stage] = list
        end
        list[#list + 1] = member
    end
end

local function flush_feeds(adds, ms)
    local score = score_text(ms)
    for stage, members in pairs(adds) do
        local args = {}
        for i = 1, #members do
            args[2 * i - 1] = score
            args[2 * i] = members[i]
        end
        call('ZADD', wait_name(stage), unpack(args))
    end
end

-- An input that is taken up again after it had failed for good: its dead letter goes, its run is open once more. Whoever calls this adds the input to
-- its set, and to the run's `open` if it does. The zero in hm:tries tells whoever commits it that its run has a record (that of a document has one only
-- because it failed).
local function revive(stage, key)
    local member = stage .. '\t' .. key
    if call('ZREM', 'hm:dead', member) == 0 then return nil end
    local letter = call('HGET', 'hm:letters', member)
    call('HDEL', 'hm:letters', member)
    call('HSET', tries_name(stage), key, 0)
    letter = letter and cjson.decode(letter)
    if not letter or not letter.run then return nil end
    local record = run_name(letter.run)
    call('HDEL', record, 'dead:' .. stage)
    if letter.aside then return letter.run, true end
    call('HDEL', record, 'error', 'finished')
    if FAILED[call('HGET', record, 'state')] then
        call('HSET', record, 'state', 'queued')
        shelve(letter.run, 'queued', '', call('HGET', record, 'created') or 0)
    end
    return letter.run
end

-- A dead input whose key was written anew.
local function revive_all(stages, key)
    for stage in string.gmatch(stages, '[^\t]+') do
        local run, aside = revive(stage, key)
        if run and not aside then call('HINCRBY', run_name(run), 'open', 1) end
    end
end

-- Wakes the servers when inputs of a stage became ready without a write of their key, which would have rung by itself.
local function ring(stage) call('PUBLISH', 'hm:ring', stage or '') end

-- An input that waits for a second key (score inf) is ready once that key is written. bumps: "STAGE<tab>MEMBER<tab>..."
local function bump(bumps, ms)
    for stage, member in string.gmatch(bumps, '([^\t]+)\t([^\t]+)') do
        if call('ZSCORE', wait_name(stage), member) == 'inf' then
            call('ZADD', wait_name(stage), score_text(ms), member)
            ring(stage)
        end
    end
end

-- The number of the next event, as text.
local function next_seq()
    return score_text(tonumber(call('GET', 'hm:seq') or '0') + 1)
end

-- A key of ours that somebody made something else than a hash counts as absent. name: kv_name of it.
local function version_of(name)
    local v = redis.pcall('HGET', name, 'version')
    if not v then return 0 end
    if type(v) == 'table' then
        call('DEL', name)
        return 0
    end
    return tonumber(v) or 0
end

local function fields_of(key, ...)
    local raw = redis.pcall('HMGET', kv_name(key), ...)
    if raw.err then return {} end
    return raw
end

-- Writes a value; returns its new version and that as text. The seq (text) in meta tells a backfill which writes were before it.
local function write_value(name, version, value, sum, encoding, seq)
    local v = version + 1
    local text = int_text(v)
    call('HSET', name, 'value', value, 'version', text, 'meta',
        sum .. ':' .. text .. ':' .. seq .. ':' .. encoding)
    return v, text
end
