
-- What all servers of this Redis sign their runs' tokens with: the first one to ask makes it.
-- keys: hm:secret   args: one that was just made   returns: the one that holds
local function secret(_, a)
    call('SET', 'hm:secret', a[1], 'NX')
    return call('GET', 'hm:secret')
end

register('hm2_secret', secret)
