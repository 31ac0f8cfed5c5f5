-- Replaces print: tables are written as trees, everything else as before. A table is written out once
-- in a call; where it turns up again, itself included, only its address stands. Lines of several
-- workers do not mix, as each call writes once.

local DEPTH_MAX = 16

local concat, sort = table.concat, table.sort
local getmetatable, next, select, tostring, type = getmetatable, next, select, tostring, type
local format, rep = string.format, string.rep
local stdout = io.stdout

local function is_tree(value)
    local meta = type(value) == "table" and getmetatable(value)
    return type(value) == "table" and not (type(meta) == "table" and meta.__tostring)
end

local function before(a, b)
    local kind, other = type(a), type(b)
    if kind ~= other then
        return kind < other
    end
    if kind == "number" or kind == "string" then
        return a < b
    end
    return tostring(a) < tostring(b)
end

local function sorted_keys(value)
    local keys = {}
    for key in next, value do
        keys[#keys + 1] = key
    end
    sort(keys, before)
    return keys
end

local function line_value(value)
    if type(value) == "string" then
        return '"' .. value .. '"'
    end
    return is_tree(value) and "[" .. tostring(value) .. "]" or tostring(value)
end

local function add_tree(lines, value, depth, seen)
    local indent = rep("\t", depth)
    seen[value] = true
    lines[#lines + 1] = indent .. "{"
    for _, key in ipairs(sorted_keys(value)) do
        local inner = value[key]
        lines[#lines + 1] = format('%s\t"%s" = %s', indent, tostring(key), line_value(inner))
        if is_tree(inner) and not seen[inner] and depth + 1 < DEPTH_MAX then
            add_tree(lines, inner, depth + 1, seen)
        end
    end
    lines[#lines + 1] = indent .. "}"
end

local function to_text(value)
    if not is_tree(value) then
        return tostring(value)
    end
    local lines = {}
    add_tree(lines, value, 0, {})
    return concat(lines, "\n")
end

function print(...)
    local parts = {}
    for i = 1, select("#", ...) do
        parts[i] = to_text((select(i, ...)))
    end
    stdout:write(concat(parts, "\t"), "\n")
    stdout:flush()
end

return print
