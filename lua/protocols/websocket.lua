-- WebSocket (RFC 6455) for scripts that split their own packets:
--
--   local websocket = require("protocols/websocket")
--
--   generation 1                                                  generation 2
--   function protocol_input(buf, conn)                            function protocol_input(buf)
--       return websocket.input(buf, conn, "/chat", on_handshake)      return websocket.input(buf, "/chat", on_handshake)
--   end                                                           end
--   function protocol_decode(str, conn)                           function protocol_decode(str)
--       return websocket.decode(conn)                                 return websocket.decode(str)
--   end                                                           end
--   function protocol_encode(str, conn, type)                     function protocol_encode(str, type)
--       return websocket.encode(str, type)                            return websocket.encode(str, type)
--   end                                                           end
--
-- The byte work is done in C, one call a stage; on_handshake is called from here, so that it may wait.
-- Pings and closes are answered, fragments joined; a message is {type = "text" or "binary", data = …,
-- finish = true}.
local core = require("mixengine.websocket")

local getinfo, traceback, type, xpcall = debug.getinfo, debug.traceback, type, xpcall
local option = mix.server.option

local websocket = {}

local function has_one_parameter(f)
    local info = type(f) == "function" and getinfo(f, "u")
    return info and info.nparams == 1 and not info.isvararg
end

-- Without conn: generation 2.
local function greet(on_handshake, conn, headers, client_id, server)
    if conn then
        return xpcall(on_handshake, traceback, headers, conn)
    elseif has_one_parameter(on_handshake) then
        return xpcall(on_handshake, traceback, headers)
    end
    return xpcall(on_handshake, traceback, client_id, headers, server)
end

local function shake_hands(buf, uri, conn, path, on_handshake)
    if path and not core.path_matches(uri, path) then
        core.refuse(conn)
        return false
    end
    local headers, client_id, server = core.accept(buf, conn, on_handshake)
    if on_handshake then
        local ok, err = greet(on_handshake, conn, headers, client_id, server)
        if not ok then
            core.report(conn, err)
        end
    end
    return true
end

-- input(buf, conn[, path[, on_handshake]]), or in generation 2 input(buf[, path][, on_handshake]).
function websocket.input(buf, conn, path, on_handshake)
    local n, uri = core.input(buf, conn)
    if not uri then
        return n
    end
    if type(conn) == "function" then
        conn, path, on_handshake = nil, option("path"), conn
    elseif type(conn) ~= "userdata" then
        conn, path, on_handshake = nil, conn or option("path"), path
    end
    return shake_hands(buf, uri, conn, path, on_handshake) and n or -1
end

websocket.decode = core.decode
websocket.encode = core.encode

-- send_text(conn, data), or in generation 2 send_text(data).
function websocket.send_text(conn, data)
    if type(conn) ~= "userdata" then
        conn, data = nil, conn
    end
    return core.send(conn, data, "text")
end

function websocket.send_binary(conn, data)
    if type(conn) ~= "userdata" then
        conn, data = nil, conn
    end
    return core.send(conn, data, "binary")
end

return websocket
