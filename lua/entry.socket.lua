-- Starter for a server with `protocol: socket`: the script splits its own packets. This one speaks lines
-- of text; every line goes to the queue "message", every open and close to "conn". Consumers pop them over
-- ws://…:6789/ws/v1 and answer with commands. Edit it to change the protocol.
require("prettyprint")
local text = require("protocols/text")

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
        mix.socket.tcp():close()
    end
end

-- Before anything was read.
function on_connect(client_id)
    push(queue_conn, { event = "connect", addr = mix.socket.tcp():remote_addr() })
end

-- Where the first packet in buf ends: its length, 0 to wait for more, -1 to disconnect.
function protocol_input(buf)
    return text.input(buf)
end

-- Turns a packet into what on_message gets; nil: no message.
function protocol_decode(str)
    return text.decode(str)
end

-- Turns what consumers send into bytes.
function protocol_encode(str)
    return text.encode(str)
end

function on_message(msg)
    push(queue_message, { data = msg, uid = mix.socket.tcp():context_value("uid") })
end

-- err is nil after an orderly close. Runs once for every connection.
function on_close(client_id, err)
    push(queue_conn, { event = "close", uid = mix.socket.tcp():context_value("uid") })
end
