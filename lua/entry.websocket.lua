-- Starter for a server with `protocol: websocket`: the engine speaks WebSocket, the script sees messages.
-- Every message goes to the queue "message", every open and close to "conn". Consumers pop them over
-- ws://…:6789/ws/v1 and answer with commands.
require("prettyprint")

local queue_message = "message"
local queue_conn = "conn"

-- Once in each worker, before the ports open, and whenever this file is loaded again.
function init()
    mix.queue.new(queue_message, 1000)
    mix.queue.new(queue_conn, 1000)
end

local function push(topic, value)
    local _, err = mix.queue.push(topic, value)
    if err then
        mix.log(mix.ERROR, "queue push error: " .. err)
        mix.websocket():close()
    end
end

-- The handshake is done; from here on the client may be sent to.
function on_handshake(client_id, headers, server)
    push(queue_conn, { event = "handshake", headers = headers, addr = server.RemoteAddr })
end

-- msg = { type = "text" or "binary", data = …, finish = true }
function on_message(msg)
    push(queue_message, { frame = msg, uid = mix.websocket():context_value("uid") })
end

-- err is nil after an orderly close. Runs once for every client whose handshake was done.
function on_close(client_id, err)
    push(queue_conn, { event = "close", uid = mix.websocket():context_value("uid") })
end
