-- The loops that hand a client's input to its script's handlers, and the calls that handlers make for each message.
-- They are in Lua so that LuaJIT compiles handler and loop as one; from C, each call would cost more than most handlers.
-- What they need of the engine are C functions that touch no Lua state (leaves, dispatch.c), called through its FFI. Each
-- is called from a function of its own: that is compiled by itself where a handler cannot be.
--
-- Misuse takes the slow way, the C function that this one stands for: that raises the error.
local leaves, slow, mix, conn_meta, buf_meta, codec, registry, vm_address, box_address = ...

local ffi = require("ffi")
local getmetatable, rawget, type = getmetatable, rawget, type
local cast, str = ffi.cast, ffi.string
local KINDS = {[0] = "text", "binary"}
local conn_mark, buf_mark = conn_meta.__metatable, buf_meta.__metatable -- what getmetatable returns (guard.lua)

local vm = cast("void *", vm_address)
local box = cast("struct { const char *data; size_t len; int32_t binary, slot; } *", box_address)

local function leaf(name, c_type)
    return cast(c_type, leaves[name])
end

local next_message = leaf("next_message", "int32_t (*)(void *)")
local begin_input = leaf("begin_input", "int32_t (*)(void *)")
local find_packet = leaf("find_packet", "int32_t (*)(void *, double)")
local take_packet = leaf("take_packet", "void (*)(void *)")
local begin_message = leaf("begin_message", "int32_t (*)(void *)")
local current_ref = leaf("current_ref", "int32_t (*)(void *)")
local context_ref = leaf("context_ref", "int32_t (*)(void *, const void *)")
local send_bytes = leaf("send", "const char *(*)(void *, const void *, const char *, size_t, int32_t)")
local ws_input = leaf("ws_input", "double (*)(void *, const void *, const void *)")
local ws_take = leaf("ws_take", "int32_t (*)(void *, const void *)")
local ws_send = leaf("ws_send", "const char *(*)(void *, const void *, const char *, size_t, int32_t)")

-- A global of the script, also one that a metatable of its globals provides.
local function handler(globals, name)
    local found = rawget(globals, name)
    if found == nil then
        found = slow.inherited(name)
    end
    return type(found) == "function" and found or nil
end

-- The built-in WebSocket.

local function read_message()
    if next_message(vm) ~= 0 then
        return {type = KINDS[box.binary], data = str(box.data, box.len), finish = true}
    end
end

local function serve_messages(globals)
    while true do
        local message = read_message()
        if not message then
            return
        end
        local on_message = handler(globals, "on_message")
        if on_message then
            on_message(message)
        end
    end
end

-- Scripts that split their own packets.

-- Only generation 1 has conn.
local function call(f, value, conn)
    if conn then
        return f(value, conn)
    end
    return f(value)
end

local function may_read()
    return begin_input(vm) ~= 0
end

local function read_packet(len)
    if type(len) ~= "number" then
        return slow.wrong_length(len)
    end
    if find_packet(vm, len) ~= 0 then
        local packet = str(box.data, box.len)
        take_packet(vm)
        return packet
    end
end

local function may_handle()
    return begin_message(vm) ~= 0
end

local function serve_packets(globals, buf, conn)
    while may_read() do
        local protocol_input = handler(globals, "protocol_input")
        if not protocol_input then
            return slow.no_input()
        end
        local packet = read_packet((call(protocol_input, buf, conn)))
        if not packet then
            return
        end
        local message = packet
        local protocol_decode = handler(globals, "protocol_decode")
        if protocol_decode then
            message = call(protocol_decode, packet, conn)
        end
        if message ~= nil then
            if not may_handle() then
                return
            end
            local on_message = handler(globals, "on_message")
            if on_message then
                call(on_message, message, conn)
            end
        end
    end
end

-- What handlers call for each message.

local function is_conn(value)
    return getmetatable(value) == conn_mark
end

-- A type of message as the leaves take it; nil: not a type.
local function binary_flag(kind)
    if kind == nil or kind == "text" then
        return 0
    elseif kind == "binary" then
        return 1
    end
end

local function outcome(why)
    if why ~= nil then
        return str(why)
    end
    return nil
end

local slow_send, slow_context, slow_context_value = conn_meta.send, conn_meta.context, conn_meta.context_value

function conn_meta.send(conn, data, kind)
    local binary = binary_flag(kind)
    if binary and is_conn(conn) and type(data) == "string" then
        return outcome(send_bytes(vm, conn, data, #data, binary))
    end
    return slow_send(conn, data, kind)
end

function conn_meta.context(conn)
    local ref = is_conn(conn) and context_ref(vm, conn) or 0
    if ref > 0 then
        return registry[ref]
    end
    return slow_context(conn)
end

function conn_meta.context_value(conn, key)
    local ref = key ~= nil and is_conn(conn) and context_ref(vm, conn) or 0
    if ref > 0 then
        return rawget(registry[ref], key)
    end
    return slow_context_value(conn, key)
end

local slow_current = mix.websocket

local function current()
    local ref = current_ref(vm)
    if ref > 0 then
        return registry[ref]
    end
    return slow_current()
end

mix.websocket, mix.socket.tcp = current, current

-- The shipped WebSocket codec. A message is found by input() and handed out by decode(); its text waits here, by the
-- number of its client's slot.

local waiting = {}
local slow_input, slow_codec_send = codec.input, codec.send

-- No conn: the current one.
local function handle_of(value)
    if is_conn(value) then
        return value
    end
    return nil
end

function codec.input(buf, conn)
    if getmetatable(buf) == buf_mark then
        local taken = ws_input(vm, buf, handle_of(conn))
        if taken >= 0 then
            if box.slot >= 0 then
                waiting[box.slot] = str(box.data, box.len)
            end
            return taken
        end
    end
    return slow_input(buf, conn)
end

function codec.decode(conn)
    local slot = ws_take(vm, handle_of(conn))
    if slot >= 0 then
        local data = waiting[slot]
        waiting[slot] = false
        return {type = KINDS[box.binary], data = data, finish = true}
    end
end

function codec.send(conn, data, kind)
    local binary = binary_flag(kind)
    if binary and type(data) == "string" and (conn == nil or is_conn(conn)) then
        return outcome(ws_send(vm, conn, data, #data, binary))
    end
    return slow_codec_send(conn, data, kind)
end

return serve_messages, serve_packets, waiting
