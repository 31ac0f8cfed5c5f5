-- The script under test/fuzz/packet_fuzz.c where the engine speaks WebSocket: the first byte of a message says what
-- is done with it.
opened, closed = 0, 0

function init()
    mix.queue.new("topic", 2)
end

function on_handshake(client_id, headers, server)
    opened = opened + 1
end

local message = {
    [0] = function(data, conn) conn:send(data) end,
    function(data, conn) conn:send(data, "binary") end,
    function(data, conn) conn:subscribe(data) end,
    function(data, conn) mix.mesh.publish(data, data) end,
    function(data, conn) mix.queue.push("topic", { data }) end,
    function(data, conn) conn:wait_context_value("go") conn:send(data) end,
    function(data, conn) conn:context()[data] = data end,
    function(data, conn) error(data) end,
    function(data, conn) conn:close(1000, data) end,
    function(data, conn) for i = 1, 100 do conn:send(data) end end,
    function(data, conn) mix.mesh.send(conn:client_id(), data) end,
}

function on_message(msg)
    local first = msg.data:byte() or 0
    message[first % 11](msg.data, mix.websocket())
end

function on_close(client_id, err)
    closed = closed + 1
    mix.queue.push("topic", { err or "nil" })
end
