-- The built-in WebSocket: "sub" subscribes, "sub CHANNEL" to that one, "pub:DATA" publishes,
-- "pub CHANNEL:DATA" there, anything else comes back.
local publish = mix.mesh.publish

function on_message(msg)
    local data = msg.data
    local conn = mix.websocket()
    local head = data:sub(1, 3)
    if head == "sub" then
        conn:subscribe(#data > 4 and data:sub(5) or "ch")
        conn:send("ok")
    elseif head == "pub" then
        local colon = data:find(":", 4, true)
        publish(colon > 4 and data:sub(5, colon - 1) or "ch", data:sub(colon + 1))
    else
        conn:send(data, msg.type)
    end
end
