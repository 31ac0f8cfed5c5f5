-- One JSON object a line, each with `method` and `params`:
--
--     local jsonrpc = require("protocols/jsonrpc")
--     function protocol_input(buf, conn) return jsonrpc.input(buf, conn) end
--     function protocol_decode(str, conn) return jsonrpc.decode(str, conn) end
--     function protocol_encode(str, conn) return jsonrpc.encode(str) end
--
-- decode gives the object as a table. It raises an error for anything else, which closes the connection
-- and says why in the log.

local text = require("protocols/text")

local error, type = error, type
local json_decode, json_encode = mix.json_decode, mix.json_encode

local M = {input = text.input, encode = text.encode}

function M.decode(str)
    local request, err = json_decode(text.decode(str))
    if err then
        error("jsonrpc: " .. err, 0)
    end
    if type(request) ~= "table" or type(request.method) ~= "string" or request.params == nil then
        error("jsonrpc: an object with method and params is expected", 0)
    end
    return request
end

function M.encode_table(tb)
    local str, err = json_encode(tb)
    if err then
        error("jsonrpc: " .. err, 2)
    end
    return text.encode(str)
end

return M
