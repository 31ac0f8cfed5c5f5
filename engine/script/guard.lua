-- What of the libraries could end the process, or keep it from ending a handler, by mistake.
local report, is_deep, is_ending = ...

local ffi = require("ffi")
local error, getmetatable, pcall, rawget, rawset, setmetatable, type = error, getmetatable, pcall, rawget, rawset, setmetatable, type

-- One result for each function, as long as somebody has it.
local function once_each(make)
    local made = setmetatable({}, {__mode = "kv"})
    return function(f)
        local found = made[f]
        if not found then
            found = make(f)
            made[f] = found
        end
        return found
    end
end

-- Finalizers run wherever memory is taken, also in the midst of the engine's own work, which no error of theirs may break
-- off: they are called protected, and what they raise is logged.
local guard_of = once_each(function(finalizer)
    return function(object)
        local done, err = pcall(finalizer, object)
        if not done then
            report(type(err) == "string" and err or "(error object is a " .. type(err) .. " value)")
        end
    end
end)

local function guarded(finalizer)
    return finalizer ~= nil and guard_of(finalizer) or nil
end

-- The collector reads a metatable without asking anyone, so scripts get another table in its place, which stays empty:
-- whatever is assigned there passes by here.
local function shield(meta)
    local finalizer = rawget(meta, "__gc")
    rawset(meta, "__metatable", setmetatable({}, {
        __index = function(_, key)
            if key == "__gc" then
                return finalizer
            end
            return rawget(meta, key)
        end,
        __newindex = function(_, key, value)
            if key == "__gc" then
                finalizer, value = value, guarded(value)
            end
            rawset(meta, key, value)
        end,
        __metatable = false,
    }))
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

local new_proxy = newproxy

function newproxy(kind)
    if kind ~= true then
        return new_proxy(kind)
    end
    local proxy = new_proxy(true)
    shield(getmetatable(proxy))
    return proxy
end

-- Those of the engine's objects and of files. Headers are tables, which have no finalizers.
for name, meta in pairs(debug.getregistry()) do
    if type(name) == "string" and type(meta) == "table" and not name:find("^_") and name ~= "mixengine.headers" then
        shield(meta)
    end
end
shield(debug.getmetatable(ffi.C))

-- A hook ends handlers by raising errors. Message handlers run inside of it then, where no hook is called.
local handler_of = once_each(function(handler)
    return function(err)
        if is_ending() then
            return err
        end
        return handler(err)
    end
end)

local protected = xpcall

function xpcall(f, handler, ...)
    if type(handler) == "function" then
        handler = handler_of(handler)
    end
    return protected(f, handler, ...)
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
    if type(f) ~= "function" then
        return wrap(f)
    end
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
