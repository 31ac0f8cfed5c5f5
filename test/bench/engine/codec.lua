-- The same as websocket.lua as a script of generation 1 with the shipped codec.
local websocket = require("protocols/websocket")
local publish = mix.mesh.publish

function protocol_input(buf, conn) return websocket.input(buf, conn, "/") end
function protocol_decode(str, conn) return websocket.decode(conn) end
function protocol_encode(str) return websocket.encode(str) end

function on_message(msg, conn)
    local data = msg.data
    local head = data:sub(1, 3)
    if head == "sub" then
        conn:subscribe(#data > 4 and data:sub(5) or "ch")
        websocket.send_text(conn, "ok")
    elseif head == "pub" then
        local colon = data:find(":", 4, true)
        publish(colon > 4 and data:sub(5, colon - 1) or "ch", data:sub(colon + 1))
    elseif msg.type == "text" then
        websocket.send_text(conn, data)
    else
        websocket.send_binary(conn, data)
    end
end
