-- Each message goes to the queue "message"; "burst N" pushes N entries of 64 bytes, then says "ok".
local push = mix.queue.push
local payload = ("x"):rep(64)

local function burst(conn, count)
    for _ = 1, count do
        assert(push("message", { frame = { type = "text", data = payload } }))
    end
    conn:send("ok")
end

function on_message(msg)
    local count = msg.data:match("^burst (%d+)$")
    if count then
        return burst(mix.websocket(), tonumber(count))
    end
    assert(push("message", { frame = msg }))
end
