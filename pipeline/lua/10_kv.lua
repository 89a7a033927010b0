
-- Writes keys, each only if its version is as asked.
-- keys: hm:kv:*, hm:wait:*, hm:seq, hm:events
-- args: epoch, events kept, then for each: key, value, sum, if_version (-1 any), feeds, bumps, event without its end
-- returns: for each the new version, or -1 - current version on a conflict
-- may fail: STALE
local function put(_, a)
    local wrong = stale(a[1])
    if wrong then return wrong end
    local ms = now_ms()
    local seq = next_seq()
    local tail = ends_with(',"version":', ',"at":' .. score_text(ms) .. '}\n')
    local adds, lines, out, n = {}, {}, {}, 0
    local dead = call('EXISTS', 'hm:dead') == 1
    for i = 3, #a, 7 do
        local name = kv_name(a[i])
        local version = version_of(name)
        if a[i + 3] ~= '-1' and tonumber(a[i + 3]) ~= version then
            out[#out + 1] = -1 - version
        else
            local v, text = write_value(name, version, a[i + 1], a[i + 2], '', seq)
            feed(adds, a[i + 4], a[i])
            if dead then revive_all(a[i + 4], a[i]) end
            if a[i + 5] ~= '' then bump(a[i + 5], ms) end
            lines[2 * n + 1] = a[i + 6]
            lines[2 * n + 2] = tail(text)
            n = n + 1
            out[#out + 1] = v
        end
    end
    flush_feeds(adds, ms)
    emit(lines, a[2], n)
    return out
end

-- Deletes a key if its version is as asked.
-- keys: hm:kv:*, hm:seq, hm:events
-- args: epoch, events kept, key, if_version (-1 any)
-- returns: its last version, 0 if there was none, -1 - current version on a conflict
local function del(_, a)
    local key, want = a[3], tonumber(a[4])
    local raw = fields_of(key, 'value', 'version')
    local version = tonumber(raw[2] or '0') or 0
    if want >= 0 and want ~= version then return -1 - version end
    if not raw[1] and version == 0 then return 0 end
    call('DEL', kv_name(key))
    emit({'key.deleted\t\t' .. key .. '\t{"version":' .. version .. ',"at":' .. score_text(now_ms()) .. '}\n'}, a[2], 1)
    return math.max(version, 1)
end

-- Enters writes that another client made with plain commands.
-- keys: as put
-- args: epoch, events kept, then for each: key, value as it was seen, sum, feeds, bumps, run
-- returns: for each the version, or 0 when the value has changed again meanwhile or was entered by somebody else
-- may fail: STALE
local function adopt(_, a)
    local wrong = stale(a[1])
    if wrong then return wrong end
    local ms = now_ms()
    local seq = next_seq()
    local adds, lines, out = {}, {}, {}
    local dead = call('EXISTS', 'hm:dead') == 1
    for i = 3, #a, 6 do
        local key = a[i]
        local raw = fields_of(key, 'value', 'version', 'meta')
        local sum, known = string.match(raw[3] or '', '^([^:]*):(%d+):')
        if raw[1] ~= a[i + 1] or sum == a[i + 2] then
            out[#out + 1] = 0
        else
            local version = tonumber(raw[2] or '0') or 0
            -- A client that counts versions by itself has moved it on; for one that does not, we do.
            if version <= tonumber(known or '0') then version = tonumber(known or '0') + 1 end
            call('HSET', kv_name(key), 'version', version, 'meta', a[i + 2] .. ':' .. version .. ':' .. seq .. ':')
            feed(adds, a[i + 3], key)
            if dead then revive_all(a[i + 3], key) end
            if a[i + 4] ~= '' then bump(a[i + 4], ms) end
            lines[#lines + 1] = 'key.put\t' .. a[i + 5] .. '\t' .. key .. '\t{"size":' .. #raw[1] ..
                ',"foreign":true,"version":' .. version .. ',"at":' .. score_text(ms) .. '}\n'
            out[#out + 1] = version
        end
    end
    flush_feeds(adds, ms)
    emit(lines, a[2], #lines)
    return out
end

register('hm2_put', put)
register('hm2_del', del)
register('hm2_adopt', adopt)
