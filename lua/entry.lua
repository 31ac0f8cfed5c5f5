-- Starter for a server without a `protocol:` key: the script splits its own packets. This one speaks
-- WebSocket; every message goes to the queue "message", every open and close to "conn". Consumers pop
-- them over ws://…:6789/ws/v1 and answer with commands. Edit it to change the protocol.
require("prettyprint")
local websocket = require("protocols/websocket")

local queue_message = "message"
local queue_conn = "conn"

-- Once in each worker, before the ports open, and whenever this file is loaded again.
function init()
    mix.queue.new(queue_message, 1000)
    mix.queue.new(queue_conn, 1000)
end

local function push(conn, topic, value)
    local _, err = mix.queue.push(topic, value)
    if err then
        mix.log(mix.ERROR, "queue push error: " .. err)
        conn:close()
    end
end

-- Before anything was read.
function on_connect(conn)
end

-- The WebSocket handshake is done; called by the codec.
function on_handshake(headers, conn)
    push(conn, queue_conn, { event = "handshake", headers = headers })
end

-- Where the first packet in buf ends: its length, 0 to wait for more, -1 to disconnect.
function protocol_input(buf, conn)
    return websocket.input(buf, conn, "/", on_handshake)
end

-- Turns a packet into what on_message gets; nil: no message.
function protocol_decode(str, conn)
    return websocket.decode(conn)
end

-- Turns what consumers send into bytes; type is "text" or "binary".
function protocol_encode(str, conn, type)
    return websocket.encode(str, type)
end

function on_message(msg, conn)
    push(conn, queue_message, { frame = msg, uid = conn:context_value("uid") })
end

-- err is nil after an orderly close. Runs once for every connection.
function on_close(err, conn)
    push(conn, queue_conn, { event = "close", uid = conn:context_value("uid") })
end
