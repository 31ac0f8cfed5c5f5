-- The script under test/fuzz/packet_fuzz.c: the first byte of a packet says what each handler does with it.
opened, closed = 0, 0

function init()
    mix.queue.new("topic", 2)
end

function on_connect(conn)
    opened = opened + 1
end

local input = {
    [0] = function(buf) return 1 end,
    function(buf) return 0 end,
    function(buf) return -1 end,
    function(buf) return buf:length() end,
    function(buf) return buf:length() + 1 end,
    function(buf) return 1.5 end,
    function(buf) return "x" end,
    function(buf) return nil end,
    function(buf) error("input") end,
    function(buf, conn) conn:clear_buffer() return 3 end,
    function(buf, conn) conn:wait_context_value("go") return buf:length() end,
    function(buf, conn) conn:close() return 1 end,
    function(buf) local second = buf:read(1) return second and second:byte() or 0 end,
    function(buf) mix.queue.push("topic", { buf:tostring() }) return 1 end,
    function(buf) return #buf:read(buf:length() - buf:position()) + buf:position() end,
    function(buf) coroutine.yield() end,
}

local decode = {
    [0] = function(str) return nil end,
    function(str) error("decode") end,
    function(str, conn) conn:wait_context_value("go") return str end,
    function(str) return str end,
}

local message = {
    [0] = function(str, conn) conn:send(str) end,
    function(str, conn) conn:subscribe(str) end,
    function(str, conn) mix.queue.push("topic", { str }) end,
    function(str, conn) conn:context()[str] = str end,
    function(str, conn) error({}) end,
    function(str, conn) mix.mesh.publish(str, str) end,
    function(str, conn) conn:wait_context_value("go") end,
    function(str, conn) mix.mesh.send(conn:client_id(), str) end,
}

function protocol_input(buf, conn)
    local first = buf:read(1):byte()
    return input[first % 16](buf, conn)
end

function protocol_decode(str, conn)
    return decode[math.floor(str:byte() / 16) % 4](str, conn)
end

function protocol_encode(str, conn)
    if #str % 3 == 0 then
        return conn:client_id() .. str
    end
    return str
end

function on_message(str, conn)
    message[math.floor(str:byte() / 16) % 8](str, conn)
end

function on_close(err, conn)
    closed = closed + 1
    mix.queue.push("topic", { err or "nil" })
end
