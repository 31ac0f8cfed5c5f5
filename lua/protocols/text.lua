-- Packets that end in "\n":
--
--     local text = require("protocols/text")
--     function protocol_input(buf, conn) return text.input(buf, conn) end
--     function protocol_decode(str, conn) return text.decode(str, conn) end
--     function protocol_encode(str, conn) return text.encode(str) end

local find, sub, byte = string.find, string.sub, string.byte

local M = {}

local PACKET_MAX = 65535 -- with its "\n"
local FIRST_LOOK = 512
local NEWLINE = 10

-- Looks at a few bytes first: with many small packets in one read, a copy of all of them for each one
-- would be most of the work.
function M.input(buf)
    local held = buf:length()
    local look = held < FIRST_LOOK and held or FIRST_LOOK
    local last = find(buf:read(look), "\n", 1, true)
    if last then
        return last
    end
    local rest = (held < PACKET_MAX and held or PACKET_MAX) - look
    last = rest > 0 and find(buf:read(rest), "\n", 1, true)
    if last then
        return look + last
    end
    return held < PACKET_MAX and 0 or -1
end

function M.decode(str)
    return byte(str, -1) == NEWLINE and sub(str, 1, -2) or str
end

function M.encode(str)
    return str .. "\n"
end

return M
