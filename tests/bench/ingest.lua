-- SPDX-License-Identifier: Apache-2.0
-- wrk: one signed body again and again, each time under a new delivery id, as GitHub would send it.
local file = assert(io.open(os.getenv("BODY"), "rb"))
local body = file:read("*a")
file:close()

local head = {
   ["Content-Type"] = "application/json",
   ["User-Agent"] = "GitHub-Hookshot/bench",
   ["X-GitHub-Event"] = os.getenv("EVENT"),
   ["X-Hub-Signature-256"] = os.getenv("SIGNATURE"),
}
local n = 0
local start

function init()
   local random = assert(io.open("/dev/urandom", "rb"))
   start = random:read(8):gsub(".", function(c) return string.format("%02x", c:byte()) end)
   random:close()
end

function request()
   n = n + 1
   head["X-GitHub-Delivery"] = string.format("%s-%010d", start, n)
   return wrk.format("POST", nil, head, body)
end

function done(summary, latency)
   local e = summary.errors
   print(string.format('RESULT {"requests":%d,"seconds":%f,"refused":%d,"failed":%d,"p50":%f,"p99":%f}',
      summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
