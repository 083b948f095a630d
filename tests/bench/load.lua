-- The load of one scenario. `load.rs` prepends METHOD, HEADERS, CREDENTIALS (sent in turn), REQUESTS (a file with one
-- request per line: path, tab, body), and STATUS and CONTAINS in the pass that checks every response.

local requests = {}
for line in io.lines(REQUESTS) do
    local path, body = line:match("^([^\t]*)\t(.*)$")
    requests[#requests + 1] = { path = path, body = body ~= "" and body or nil }
end

wrk.method = METHOD
wrk.headers = HEADERS

if #requests == 1 and #CREDENTIALS <= 1 then
    -- Sent unchanged, without calling the script again.
    wrk.headers["Authorization"] = CREDENTIALS[1] and "Bearer " .. CREDENTIALS[1]
    wrk.path = requests[1].path
    wrk.body = requests[1].body
else
    local formatted = {}
    function init()
        for i = 0, math.max(#requests, #CREDENTIALS) - 1 do
            local request = requests[i % #requests + 1]
            if #CREDENTIALS > 0 then
                wrk.headers["Authorization"] = "Bearer " .. CREDENTIALS[i % #CREDENTIALS + 1]
            end
            formatted[i + 1] = wrk.format(nil, request.path, nil, request.body)
        end
    end

    local last = 0
    function request()
        last = last % #formatted + 1
        return formatted[last]
    end
end

local threads = {}
function setup(thread)
    threads[#threads + 1] = thread
end

wrong = 0
example = ""
if STATUS then
    function response(status, headers, body)
        local text = body
        for name, value in pairs(headers) do
            text = text .. "\n" .. name:lower() .. ": " .. value
        end
        if status ~= STATUS or not text:find(CONTAINS, 1, true) then
            wrong = wrong + 1
            example = status .. " " .. text
        end
    end
end

function done(summary, latency)
    local errors = summary.errors
    local lost = errors.connect + errors.read + errors.write + errors.timeout + errors.status
    io.write(string.format("\nRESULT %d %d %d %d %d %d %d %s\n", summary.requests, summary.duration, summary.bytes, lost,
        latency:percentile(50), latency:percentile(99), threads[1]:get("wrong"),
        threads[1]:get("example"):gsub("%s+", " ")))
end
