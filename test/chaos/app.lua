-- What the clients of the chaos run talk to. "KIND NUMBER PADDING" is pushed to the topic `up` and
-- answered "a NUMBER" when it is in the queue, "x NUMBER REASON" when it is not. Before that, by KIND:
--   r   redis is asked      h   an HTTP server is asked      s   it sleeps      l   it loops and never ends
--   w   afterwards: waits until a consumer has set the value NUMBER, or half a second
-- Openings and ends go to the topic `conn`, which the same consumers take.
local app = {}

local before = {
    r = function()
        mix.redis.connection():command("incr", "count")
    end,
    h = function()
        mix.http.request("GET", mix.server.option("backend"), { timeout = 3 })
    end,
    s = function()
        mix.sleep(0.05)
    end,
    l = function()
        while true do end
    end,
}

-- While memory is short a push is refused; these have nobody who would send them again.
local function record(what)
    repeat
        local _, err = mix.queue.push("conn", { k = what })
        local short = err and err:find("memoryLimit", 1, true)
    until not short or mix.sleep(0.05)
end

function app.connected(conn) end

function app.opened(conn)
    conn:subscribe("room")
    record("open")
    app.send(conn, "id " .. conn:client_id())
end

function app.message(conn, msg)
    local kind, number = msg.data:match("^(%a) (%d+) ")
    if before[kind] then
        before[kind]()
    end
    local _, err = mix.queue.push("up", { n = tonumber(number), k = kind, text = msg.data })
    app.send(conn, err and "x " .. number .. " " .. err or "a " .. number)
    if kind == "w" then
        conn:wait_context_value(number, 0.5)
    end
end

function app.closed(conn)
    record("close")
end

return app
