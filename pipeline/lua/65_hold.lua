
-- Takes a name that one holder has at a time. keys: hm:hold:NAME   args: name, token, ms   returns: 1, or 0 when somebody else has it
local function hold(_, a)
    local name = 'hm:hold:' .. a[1]
    if call('SET', name, a[2], 'NX', 'PX', a[3]) then return 1 end
    return call('GET', name) == a[2] and 1 or 0 -- the answer to the same call got lost
end

-- keys: hm:hold:NAME   args: name, token   returns: 1 when it was the caller's
local function let_go(_, a)
    local name = 'hm:hold:' .. a[1]
    if call('GET', name) ~= a[2] then return 0 end
    return call('UNLINK', name)
end

register('hm2_hold', hold)
register('hm2_let_go', let_go)
