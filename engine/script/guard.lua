-- What of the libraries could end the process, by mistake.
--
-- Finalizers run wherever memory is taken, also in the midst of the engine's own work, which no error of theirs may break
-- off: they are called protected, and what they raise is logged.
local report, is_deep = ...

local ffi = require("ffi")
local error, getmetatable, pcall, rawget, rawset, setmetatable, type = error, getmetatable, pcall, rawget, rawset, setmetatable, type

local guards = setmetatable({}, {__mode = "kv"})

-- C functions raise nothing.
local function guarded(finalizer)
    if finalizer == nil or type(finalizer) == "cdata" then
        return finalizer
    end
    local guard = guards[finalizer]
    if not guard then
        guard = function(object)
            local done, err = pcall(finalizer, object)
            if not done then
                report(type(err) == "string" and err or "(error object is a " .. type(err) .. " value)")
            end
        end
        guards[finalizer] = guard
    end
    return guard
end

local gc, metatype = ffi.gc, ffi.metatype

function ffi.gc(object, finalizer)
    return gc(object, guarded(finalizer))
end

function ffi.metatype(ctype, meta)
    if type(meta) == "table" then
        rawset(meta, "__gc", guarded(rawget(meta, "__gc")))
    end
    return metatype(ctype, meta)
end

local proxy_meta = {
    __newindex = function(meta, key, value)
        rawset(meta, key, key == "__gc" and guarded(value) or value)
    end,
}
local new_proxy = newproxy

function newproxy(kind)
    local proxy = new_proxy(kind)
    if kind == true then
        setmetatable(getmetatable(proxy), proxy_meta)
    end
    return proxy
end

-- Each coroutine that resumes another one takes of the thread's stack, which Lua does not watch.
local DEEP = "coroutines resume each other too deeply"
local resume, wrap = coroutine.resume, coroutine.wrap

function coroutine.resume(co, ...)
    if is_deep() then
        return false, DEEP
    end
    return resume(co, ...)
end

function coroutine.wrap(f)
    local go_on = wrap(f)
    return function(...)
        if is_deep() then
            error(DEEP, 2)
        end
        return go_on(...)
    end
end

function os.exit()
    error("os.exit: a script cannot end the engine, which other connections are on", 2)
end
