-- WebSocket (RFC 6455) for scripts that split their own packets:
--
--   local websocket = require("protocols/websocket")
--   function protocol_input(buf, conn)  return websocket.input(buf, conn, "/chat", on_handshake) end
--   function protocol_decode(str, conn) return websocket.decode(conn) end
--   function protocol_encode(str, conn) return websocket.encode(str) end
--
-- The byte work is done in C, one call a stage; on_handshake is called from here, so that it may wait.
-- Pings and closes are answered, fragments joined; a message is {type = "text" or "binary", data = …,
-- finish = true}.
local core = require("mixengine.websocket")

local websocket = {}

-- A plain prefix of the request's path, else a Lua pattern that matches at its beginning.
local function path_matches(uri, path)
    if path == nil or uri:sub(1, #path) == path then
        return true
    end
    local ok, first = pcall(string.find, uri, path)
    return ok and first == 1
end

function websocket.input(buf, conn, path, on_handshake)
    local n, uri = core.input(buf, conn)
    if not uri then
        return n
    end
    if not path_matches(uri, path) then
        core.refuse(conn)
        return -1
    end
    local headers = core.accept(buf, conn)
    if on_handshake then
        local ok, err = xpcall(on_handshake, debug.traceback, headers, conn)
        if not ok then
            core.report(conn, err)
        end
    end
    return n
end

websocket.decode = core.decode
websocket.encode = core.encode

function websocket.send_text(conn, data)
    return core.send(conn, data, "text")
end

function websocket.send_binary(conn, data)
    return core.send(conn, data, "binary")
end

return websocket
