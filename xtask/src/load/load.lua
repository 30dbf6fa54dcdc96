-- Sends the bodies of a file in turn, and prints what was measured as JSON.
local headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. os.getenv("LOAD_KEY") }
local streams = os.getenv("LOAD_STREAMS") ~= nil
if streams then headers["Accept"] = "text/event-stream" end

local threads = {}
function setup(thread) threads[#threads + 1] = thread end

function init()
  bodies, next_body, complete, refused = {}, 0, 0, 0
  for line in io.lines(os.getenv("LOAD_BODIES")) do
    if streams then line = line:gsub("}$", ',"stream":true}') end
    bodies[#bodies + 1] = wrk.format("POST", nil, headers, line)
  end
end

function request()
  next_body = next_body % #bodies + 1
  return bodies[next_body]
end

if streams then
  function response(status, _, body)
    if status == 200 and body:find("%[DONE%]") then complete = complete + 1 end
  end
end

function done(summary, latency)
  local whole = 0
  for _, thread in ipairs(threads) do whole = whole + thread:get("complete") end
  local e = summary.errors
  io.write(string.format('load: {"requests":%d,"complete":%d,"errors":%d,"seconds":%.6f,"p50":%.4f,"p99":%.4f}\n',
    summary.requests, whole, e.connect + e.read + e.write + e.status + e.timeout, summary.duration / 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
