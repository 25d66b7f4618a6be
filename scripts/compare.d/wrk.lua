-- What wrk runs for scripts/compare: N requests a write, and figures that a program can read.
--
--   wrk -s wrk.lua URL -- N
--
-- wrk asks a script for every write if the script has a request() function; this one has none, so the bytes
-- are made once and the load generator costs as little as it can.

local ffi = require("ffi")

ffi.cdef [[
struct compare_stats {
    uint64_t count;
    uint64_t limit;
    uint64_t min;
    uint64_t max;
    uint64_t data[1];
};
]]

function init(args)
    local depth = tonumber(args[1] or 1)
    local format = wrk.format
    wrk.format = function(...)
        return string.rep(format(...), depth)
    end
end

-- wrk corrects its histogram for coordinated omission before it shows it: a sample of N us adds others of N-E,
-- N-2E, ... us, where E is the mean time a connection takes for a request. With pipelining E is wrong by
-- the depth and the invented samples outnumber the real ones. So they are taken out again, from the slowest down.
local function measured(latency, summary, connections)
    local stats = ffi.cast("struct compare_stats **", latency)[0]
    local min, max = tonumber(stats.min), tonumber(stats.max)
    if min ~= latency.min or max ~= latency.max or max < min or max >= tonumber(stats.limit) then
        return nil, 0
    end
    local expected = math.floor(summary.duration / math.floor(summary.requests / connections))
    local count, total = {}, 0
    for n = 0, max do
        count[n] = tonumber(stats.data[n])
    end
    for n = max, min, -1 do
        if count[n] < 0 then
            return nil, 0
        end
        if count[n] > 0 and n >= expected * 2 and expected > 0 then
            for m = n - expected, expected + 1, -expected do
                count[m] = count[m] - count[n]
            end
        end
        total = total + count[n]
    end
    return count, total, min, max
end

local function percentile(count, total, min, max, p)
    local want, seen = total * p / 100, 0
    for n = min, max do
        seen = seen + count[n]
        if seen >= want then
            return n
        end
    end
    return max
end

function done(summary, latency, requests)
    local connections = tonumber(os.getenv("COMPARE_CONNECTIONS") or 64)
    local p50, p99, samples = -1, -1, 0
    if summary.requests >= connections then
        local count, total, min, max = measured(latency, summary, connections)
        if count and total > 0 then
            p50, p99, samples = percentile(count, total, min, max, 50), percentile(count, total, min, max, 99), total
        end
    end
    local errors = summary.errors
    print(string.format(
        "compare requests=%d duration_us=%d bytes=%d p50_us=%d p99_us=%d max_us=%d samples=%d errors=%d",
        summary.requests, summary.duration, summary.bytes, p50, p99, latency.max, samples,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
