-- SPDX-License-Identifier: Apache-2.0
-- wrk: starts a job again and again. STARTS_KEY=1: each time with an Idempotency-Key of its own.
local keyed = os.getenv("STARTS_KEY") == "1"
local head = {["Content-Type"] = "application/json"}
local n = 0
local start

function init()
   local random = assert(io.open("/dev/urandom", "rb"))
   start = random:read(8):gsub(".", function(c) return string.format("%02x", c:byte()) end)
   random:close()
end

function request()
   n = n + 1
   if keyed then head["Idempotency-Key"] = string.format("%s-%010d", start, n) end
   return wrk.format("POST", nil, head, '{"n":1}')
end

function done(summary, latency)
   local e = summary.errors
   print(string.format('RESULT {"requests":%d,"seconds":%f,"refused":%d,"failed":%d,"p50":%f,"p99":%f}',
      summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
